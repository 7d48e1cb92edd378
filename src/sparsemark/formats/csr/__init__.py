"""The CSR file: every weight matrix in compressed sparse rows, and the graph that uses them."""
