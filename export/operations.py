"""What may be in a served graph: a list of operations, and nothing that needs Python or XLA.

TF Serving has no Python, and XLA is disabled in it; stateful random numbers would make answers
depend on what was asked before. An operation that is not in the list stops the export, so that one
who adds it to the model decides about it.
"""

import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from seatbelt_tf import checks

# Structure, control flow, variables and checks.
_STRUCTURE = """
Arg Assert AssignVariableOp Const DisableCopyOnRead EnsureShape Identity IdentityN If
MergeV2Checkpoints NoOp Pack PartitionedCall Placeholder ReadVariableOp RestoreV2 Retval SaveV2
ShardedFilename StatefulPartitionedCall StatelessIf StatelessWhile StaticRegexFullMatch StringJoin
TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem TensorListStack Unpack
VarHandleOp While
"""
_ARITHMETIC = """
Abs Add AddN AddV2 All Any Cast Ceil ClipByValue Cumsum DivNoNan Equal Erf Exp Expm1 Floor FloorDiv
FloorMod Greater GreaterEqual IsFinite IsNan Less LessEqual Log Log1p LogicalAnd LogicalNot
LogicalOr Max Maximum Mean Min Minimum Mul Neg NotEqual Pow Prod RealDiv Reciprocal Round Rsqrt
Select SelectV2 Sigmoid Sign Sqrt Square SquaredDifference Sub Sum Tanh
"""
_SHAPES = """
BroadcastArgs BroadcastTo ConcatV2 ExpandDims Fill GatherNd GatherV2 OnesLike Pad PadV2 Range
Reshape Shape Slice Split SplitV Squeeze StridedSlice Tile Transpose ZerosLike
"""
_NETWORKS = """
AvgPool BatchMatMulV2 BiasAdd Conv2D Conv2DBackpropInput DepthToSpace Elu FusedBatchNormV3 LeakyRelu
MatMul MaxPool Relu Selu Softmax Softplus SpaceToDepth
"""
# Of chains (the defence "mcmc"), which follow the gradient of log p(x, z).
_GRADIENTS = """
BiasAddGrad BroadcastGradientArgs ConcatOffset Conv2DBackpropFilter DynamicStitch LeakyReluGrad
ReluGrad ShapeN StridedSliceGrad
"""
# Functions of a seed, all of them.
_RANDOM_NUMBERS = """
Bitcast StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomNormalV2
StatelessRandomUniformFullIntV2 StatelessRandomUniformV2
"""
_ENCODED_IMAGES = "DecodeImage DecodeRaw ExtractJpegShape ReverseV2 StringLength Substr"
ALLOWED = frozenset(
    " ".join(
        (
            _STRUCTURE,
            _ARITHMETIC,
            _SHAPES,
            _NETWORKS,
            _GRADIENTS,
            _RANDOM_NUMBERS,
            _ENCODED_IMAGES,
        )
    ).split()
)


def check(directory):
    """Raises ValueError if a SavedModel holds what TF Serving cannot or should not run.

    Args:
        directory: of the SavedModel.
    """
    foreign = sorted(operations(directory) - ALLOWED)
    if foreign:
        raise checks.invalid("run", "a model of operations that can be served", ", ".join(foreign))


def operations(directory):
    """The names of all operations in a SavedModel, with "XLA" for a function that must compile."""
    saved = saved_model_pb2.SavedModel.FromString(
        (pathlib.Path(directory) / tf.saved_model.SAVED_MODEL_FILENAME_PB).read_bytes()
    )
    names = set()
    for meta_graph in saved.meta_graphs:
        names |= {node.op for node in meta_graph.graph_def.node}
        for function in meta_graph.graph_def.library.function:
            names |= {node.op for node in function.node_def}
            if function.attr["_XlaMustCompile"].b:
                names.add("XLA")
    return names
