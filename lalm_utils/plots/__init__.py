"""Tables in, figures out: one function per figure, redrawn from the CSVs beside them."""
