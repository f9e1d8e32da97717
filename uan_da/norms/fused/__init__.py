"""UAN at BatchNorm's memory traffic: the same maths as :mod:`uan_da.norms.reference`, in fewer passes."""
