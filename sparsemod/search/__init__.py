"""The candidate source `search`: Sobol, a Gaussian process with exact costs, morphs of the front. Torch, BoTorch and Ax load on first use."""
