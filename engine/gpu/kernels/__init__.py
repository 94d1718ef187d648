"""One folder for each family of kernels, one file for each kernel: preconditions, bindings, launch geometry.

Importing the package registers them all.
"""

from engine.gpu.kernels.attention import window_attention
from engine.gpu.kernels.convolution import col2im, conv, conv_transpose, deform_conv, deform_integers, qlinear_conv
from engine.gpu.kernels.elementwise import elementwise, quantize
from engine.gpu.kernels.indexing import diagonal, gather, scatter
from engine.gpu.kernels.layout import concat, pad, rearrange, views
from engine.gpu.kernels.matmul import matmul
from engine.gpu.kernels.product import einsum
from engine.gpu.kernels.reduction import along_axis, normalize, reduce, softmax
from engine.gpu.kernels.sampling import grid_sample, max_unpool, pool, resize, roi_align

__all__ = [
    "along_axis",
    "col2im",
    "concat",
    "conv",
    "conv_transpose",
    "deform_conv",
    "deform_integers",
    "diagonal",
    "einsum",
    "elementwise",
    "gather",
    "grid_sample",
    "matmul",
    "max_unpool",
    "normalize",
    "pad",
    "pool",
    "qlinear_conv",
    "quantize",
    "rearrange",
    "reduce",
    "resize",
    "roi_align",
    "scatter",
    "softmax",
    "views",
    "window_attention",
]
