"""The candidate source `search`: Sobol points, a Gaussian process with exact costs, morphs of the front.

Torch, BoTorch and Ax are imported on first use.
"""
