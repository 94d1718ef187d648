"""Which file has which operators: a file is imported with the first of them that is looked up."""

from __future__ import annotations

FILES = {
    "activation": (
        "Celu Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Shrink Sigmoid Softplus Softsign "
        "SwiGLU Swish ThresholdedRelu"
    ),
    "arg_extreme": "ArgMax ArgMin",
    "arithmetic": "Add Div Max Mean Min Mod Mul Pow Sub Sum",
    "bitwise": "BitShift BitwiseAnd BitwiseOr BitwiseXor",
    "cast": "Cast CastLike",
    "clip": "Clip",
    "col2im": "Col2Im",
    "compare": "And Equal Greater GreaterOrEqual Less LessOrEqual Or Where Xor",
    "concat": "Concat Split",
    "constant": "Constant ConstantOfShape Range",
    "conv": "Conv",
    "conv_transpose": "ConvTranspose",
    "cumulative": "CumProd CumSum",
    "deform_conv": "DeformConv",
    "deform_conv_integer": "DeformConvInteger DeformQuantization",
    "depth_space": "DepthToSpace SpaceToDepth",
    "diagonal": "EyeLike Trilu",
    "dropout": "Dropout",
    "dynamic_quantize_conv": "DynamicQuantizeConv",
    "einsum": "Einsum",
    "expand": "Expand Tile",
    "fused_conv": "FusedConv",
    "gather": "Gather GatherElements GatherND",
    "global_pool": "GlobalAveragePool GlobalLpPool GlobalMaxPool",
    "grid_sample": "GridSample",
    "identity": "Identity",
    "integer_products": "ConvInteger MatMulInteger QLinearConv QLinearMatMul",
    "matmul": "Gemm MatMul",
    "matmul_bnb4": "MatMulBnb4",
    "matmul_nbits": "MatMulNBits",
    "max_unpool": "MaxUnpool",
    "normalization": (
        "BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization "
        "MeanVarianceNormalization RMSNormalization"
    ),
    "one_hot": "OneHot",
    "pad": "CenterCropPad Pad",
    "pool": "AveragePool LpPool MaxPool",
    "quantize": "DequantizeLinear DynamicQuantizeLinear QuantizeLinear",
    "reduce": (
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare"
    ),
    "reshape": "Flatten Reshape Squeeze Unsqueeze",
    "resize": "Resize Upsample",
    "reverse_sequence": "ReverseSequence",
    "roi_align": "RoiAlign",
    "scatter": "Scatter ScatterElements ScatterND",
    "shape": "NonZero Shape Size",
    "slicing": "Slice",
    "softmax": "Hardmax LogSoftmax Softmax",
    "topk": "TopK",
    "transpose": "Transpose",
    "unary": (
        "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Cos Cosh Erf Exp Floor IsInf IsNaN Log Neg Not "
        "Reciprocal Round Sign Sin Sinh Sqrt Tan Tanh"
    ),
    "unpack": "Unpack4Bit",
    "window_attention": "WindowAttention",
}
"""The operators of each file, whatever their domain, separated by blanks."""

FILE_OF = {op: file for file, ops in FILES.items() for op in ops.split()}
"""The file of each operator."""
