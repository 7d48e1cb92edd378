"""Direct sparse convolution: convolutional networks executed from their non-zeros.

A network goes from the graph of a CSR file to steps (`lowering`, `steps`), to places in memory (`memory`), to tables
(`program`, `layout`), and is run by one native call (`runner`, `interpreter`, `kernels`). How each layer runs is
chosen by measurement (`tuning`, `network`).
"""
