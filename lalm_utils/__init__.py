"""Does a large audio language model know when it does not know? The package behind the notebooks.

The pipeline, each step a module:

    items.load -> prompts.render -> models.load_model(...).generate -> answers.read
               -> outcomes.table -> metrics.evaluate, metrics.gain -> figure_files.save

Replies come through store.Store, so that nothing is asked twice. Importing the package itself loads nothing.
"""

__version__ = "0.1.0"
