"""Evaluation of ONNX models in float64: operators, widening, and the loop over the nodes."""
