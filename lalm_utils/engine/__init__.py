"""Any LALM that transformers can load: families, loading, and fast generation behind the model protocol."""
