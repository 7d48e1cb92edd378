"""Direct sparse convolution: convolutional networks executed from their non-zeros.

A network goes from the graph of a CSR file to operations (`lowering`, `ir`), to places in memory (`memory`), to a
program (`encoders`, `program`), and is run by one native call (`kernels`, `runtime`). The schedule of each convolution
is chosen by measurement (`schedule`, `autotune`); `network` is the face. README.md has the picture.
"""
