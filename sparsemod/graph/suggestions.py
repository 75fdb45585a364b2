"""Spellings that work, by ATen operator that has no translation; errors state them."""

from collections.abc import Mapping

_OUTSIDE = "return the scores, and choose among them outside of the network"
_PARTS = (
    "multiply by a constant mask, or concatenate the parts, instead of an assignment to a part of a tensor"
)
_NORMS = "GroupNorm, LayerNorm, InstanceNorm and RMSNorm compute with variances"

SUGGESTIONS: Mapping[str, str] = {
    "argmax": "leave it out: the largest output is the class, and the C code's classify returns it",
    "argmin": _OUTSIDE,
    "topk": _OUTSIDE,
    "sort": _OUTSIDE,
    "nonzero": _OUTSIDE,
    "fill": _PARTS,
    "copy": _PARTS,
    "index_put": _PARTS,
    "select_scatter": _PARTS,
    "slice_scatter": _PARTS,
    "scatter": _PARTS,
    "var": _NORMS,
    "std": _NORMS,
    "var_mean": _NORMS,
    "upsample_bicubic2d": "mode='bilinear' works",
    "upsample_trilinear3d": "samples have at most two position axes",
    "conv3d": "samples have at most two position axes",
    "avg_pool3d": "samples have at most two position axes; in place of LocalResponseNorm use GroupNorm",
    "max_pool3d": "samples have at most two position axes",
    "im2col": "a convolution computes the same as unfold and a product",
    "col2im": "ConvTranspose1d or ConvTranspose2d computes the same as a product and fold",
    "unfold": "slices and a concatenation, or a strided convolution",
    "einsum": "torch.matmul of transposed tensors",
    "bilinear": "a product of two linear layers",
    "cosine_similarity": "functional.normalize of both, their product, and its sum",
    "logsumexp": "log_softmax, of which the largest value counts",
    "floor_divide": "torch.floor(x / n)",
    "rot90": "transpose and flip",
    "baddbmm": "torch.matmul, and a sum",
    "pow": "torch.exp(x * math.log(base))",
    "gru_cell": "nn.GRU over all steps at once computes the same as a loop over GRUCell",
    "lstm_cell": "nn.LSTM over all steps at once computes the same as a loop over LSTMCell",
    "rnn_tanh": "nn.GRU; plain recurrent layers have no integer definition here",
    "rnn_relu": "nn.GRU; plain recurrent layers have no integer definition here",
    "rnn_tanh_cell": "nn.GRU over all steps at once",
    "rnn_relu_cell": "nn.GRU over all steps at once",
    "max_unpool2d": "nn.Upsample or ConvTranspose2d",
    "cdist": "distances to constant points are products: (x * x).sum - 2 x @ points + constants, as a linear layer",
    "fft_rfft": "BandEnergies of sparsemod.signals.modules at the input",
    "stft": "BandEnergies of sparsemod.signals.modules at the input",
    "stack": "torch.stack(..., dim=1), with the batch first; or a + b in place of stack and sum",
    "cond": "compute both branches, and choose with torch.where",
    "cumsum": "a product with a constant triangular matrix",
}
