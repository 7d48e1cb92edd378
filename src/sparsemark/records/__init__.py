"""Records: what was measured, as frozen values, and the files that hold them."""
