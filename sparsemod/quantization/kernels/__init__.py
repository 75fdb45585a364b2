"""The integer kernels by kind of layer; see `sparsemod.quantization.kernels.base`."""
