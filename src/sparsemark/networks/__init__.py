"""Networks: from a reference to a module, to a file, and to the float64 outputs that engines are checked against."""
