"""Which ATen operations may be replayed: pure functions of their arguments, and nothing else.

The tape comes from a hostile process. An operation that is not named here is not run.
"""

from collections.abc import Callable
from typing import Any

import torch

Value = Any

# Values pass through these unchanged, only rearranged.
REARRANGING = frozenset(
    """
    _reshape_alias _to_copy _unsafe_view alias as_strided as_strided_scatter cat chunk clone
    contiguous copy detach diagonal expand expand_as flatten flip lift_fresh lift_fresh_copy
    movedim narrow permute reshape resolve_conj resolve_neg roll select select_scatter slice
    slice_scatter split split_with_sizes squeeze stack swapaxes t transpose unbind unflatten
    unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze view view_as
    view_as_complex view_as_real
    """.split()
)

ARITHMETIC = frozenset(
    """
    _adaptive_avg_pool2d _cdist_backward _cdist_forward _conj _conj_physical _convolution
    _euclidean_dist _fft_c2c _fft_c2r _fft_r2c _fused_rms_norm _fused_rms_norm_backward
    _linalg_solve_ex _linalg_svd _log_softmax _log_softmax_backward_data _logcumsumexp
    _masked_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training _pdist_forward
    _prelu_kernel _prelu_kernel_backward _safe_softmax _slow_conv2d_forward _softmax
    _softmax_backward_data _trilinear _unsafe_index _unsafe_index_put _weight_norm
    _weight_norm_interface abs absolute acos acosh adaptive_avg_pool1d add addbmm addcdiv
    addcmul addmm addmv addr affine_grid_generator all amax amin aminmax angle any arange argmax
    argmin argsort argwhere asin asinh atan atan2 atanh avg_pool1d avg_pool2d baddbmm batch_norm
    binary_cross_entropy binary_cross_entropy_with_logits bincount bitwise_and bitwise_not
    bitwise_or bitwise_xor block_diag bmm broadcast_to bucketize cdist ceil celu channel_shuffle
    clamp clamp_max clamp_min clip complex conj constant_pad_nd conv1d conv2d convolution
    convolution_backward copysign cos cosh cosine_similarity count_nonzero cross cummax cummin
    cumprod cumsum deg2rad diag diag_embed diagonal_backward diff digamma dist div dot einsum
    elu elu_backward embedding embedding_dense_backward eq erf erfc erfinv exp exp2 expm1
    exponential eye fill floor floor_divide fmax fmin fmod frac full full_like gather gcd ge
    gelu gelu_backward glu glu_backward gt hardshrink hardsigmoid hardsigmoid_backward hardswish
    hardswish_backward hardtanh hardtanh_backward heaviside hinge_embedding_loss huber_loss
    hypot i0 im2col imag index index_add index_copy index_fill index_put index_reduce
    index_select index_select_backward inner inverse isfinite isin isinf isnan kl_div kron
    kthvalue l1_loss layer_norm lcm le leaky_relu leaky_relu_backward lerp lgamma
    linalg_cholesky_ex linalg_cross linalg_eigh linalg_inv_ex linalg_lu_factor_ex
    linalg_matrix_norm linalg_norm linalg_qr linalg_solve_triangular linalg_vector_norm linear
    linspace log log10 log1p log2 log_sigmoid_backward log_sigmoid_forward log_softmax logaddexp
    logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor logit logspace
    logsumexp lt masked_fill masked_scatter masked_select matmul matrix_exp matrix_power max
    max_pool2d_with_indices maximum mean median min minimum mish mish_backward mm mode mse_loss
    mse_loss_backward mul multiply mv nan_to_num nanmean nansum native_batch_norm
    native_batch_norm_backward native_group_norm native_group_norm_backward native_layer_norm
    native_layer_norm_backward ne neg new_empty_strided new_full new_ones new_zeros
    nll_loss_forward nonzero norm one_hot ones ones_like outer pixel_shuffle polar positive pow
    prelu prod put real reciprocal relu relu6 remainder renorm repeat repeat_interleave rms_norm
    round rsqrt rsub scalar_tensor scaled_dot_product_attention scatter scatter_add
    scatter_reduce searchsorted select select_backward selu sgn sigmoid sigmoid_backward sign
    signbit silu silu_backward sin sinc sinh slice_backward smooth_l1_loss softmax softplus
    softplus_backward softshrink softshrink_backward sort special_entr special_erfcx
    special_expit special_log1p special_xlog1py sqrt square std std_mean sub sum take tan tanh
    tanh_backward threshold threshold_backward tile topk trace tril tril_indices triu
    triu_indices true_divide trunc unfold_backward unique_dim unsqueeze
    value_selecting_reduction_backward var var_mean vdot where xlogy zero zeros zeros_like
    """.split()
)

EMPTY = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})

WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}


def widened(dtype: Any) -> Any:
    """The dtype of the replay: 64-bit where the submission computed in fewer bits."""
    return WIDER.get(dtype, dtype)


def base_name(op: str) -> str:
    return op.split(".")[0]


ALLOWED = ARITHMETIC | REARRANGING | EMPTY | {"item"}


def allowed(op: str) -> bool:
    return base_name(op) in ALLOWED


def _as_strided(x: torch.Tensor, *args: Any) -> torch.Tensor:
    return x.contiguous().as_strided(*args)


def _as_strided_scatter(x: torch.Tensor, *args: Any) -> torch.Tensor:
    return torch.as_strided_scatter(x.contiguous(), *args)


def _copy(target: torch.Tensor, source: torch.Tensor, *_: Any) -> torch.Tensor:
    return source.expand(target.shape).to(target.dtype).clone()


# The recorded strides mean nothing in the replay, and what `empty` holds nobody may use.
SPECIAL: dict[str, Callable[..., Value]] = {
    "view": lambda x, size: x.reshape(size),
    "_unsafe_view": lambda x, size: x.reshape(size),
    "_reshape_alias": lambda x, size, _stride: x.reshape(size),
    "as_strided": _as_strided,
    "as_strided_scatter": _as_strided_scatter,
    "copy": _copy,
    "detach": lambda x: x,
    "alias": lambda x: x,
    "lift_fresh": lambda x: x,
    "lift_fresh_copy": lambda x: x,
    "empty": lambda size, dtype=torch.float32: torch.zeros(size, dtype=dtype),
    "empty_strided": lambda size, _stride, dtype=torch.float32: torch.zeros(size, dtype=dtype),
    "empty_like": lambda x, dtype=None: torch.zeros_like(x, dtype=dtype),
    "new_empty": lambda x, size, dtype=None: x.new_zeros(size, dtype=dtype),
    "new_empty_strided": lambda x, size, _stride, dtype=None: x.new_zeros(size, dtype=dtype),
}


def implementation(op: str) -> Callable[..., Value]:
    """The function that replays `op`.

    Raises:
        KeyError: `op` is not allowed or does not exist.
    """
    base, _, overload = op.partition(".")
    if not allowed(op):
        raise KeyError(op)
    if base in SPECIAL and op != "view.dtype":
        return SPECIAL[base]
    packet = getattr(torch.ops.aten, base, None)
    function = getattr(packet, overload or "default", None)
    if function is None or any(
        a.alias_info and a.alias_info.is_write for a in function._schema.arguments
    ):
        raise KeyError(op)
    return function  # type: ignore[no-any-return]
