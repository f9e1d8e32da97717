"""The public Python API: training, trained runs and comparisons. Tables are pandas DataFrames."""
