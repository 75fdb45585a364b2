"""The TensorFlow Lite exporter."""
