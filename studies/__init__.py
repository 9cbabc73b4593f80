"""What the notebooks, `make` and `zscap run` use beside the package: studies, tables of papers, figures, recipes."""
