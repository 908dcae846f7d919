"""Does a large audio language model know when it does not know? The package behind the notebooks.

The pipeline, each step a module:

    benchmarks.load -> prompts.render -> load_model(...).generate -> parsing.read
                    -> outcomes.table -> metrics.evaluate, metrics.gain -> figures.save

Replies come through store.Store, so that nothing is asked twice. To read the code, begin with these, in this order:
items, prompts, models, runs, parsing, outcomes, metrics, bootstrap. Importing the package itself loads nothing.
"""

__version__ = "0.1.0"
