"""OpenVINO IR and ONNX files that somebody else has made."""
