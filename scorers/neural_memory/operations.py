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
    _reshape_alias _to_copy _unsafe_view alias as_strided as_strided_scatter cat chunk clone contiguous
    copy detach diagonal expand expand_as flatten flip lift_fresh lift_fresh_copy movedim narrow
    permute reshape roll select select_scatter slice slice_scatter split split_with_sizes squeeze
    resolve_conj resolve_neg stack swapaxes t transpose unbind unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes
    unsqueeze view view_as view_as_complex view_as_real
    """.split()
)

ARITHMETIC = frozenset(
    """
    _conj abs absolute acos acosh add addmm amax amin angle any all arange argmax argmin argsort
    asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_not bitwise_or bitwise_xor bmm ceil
    celu clamp clip clamp_max clamp_min complex constant_pad_nd convolution copysign cos cosh count_nonzero
    cummax cummin cumprod cumsum deg2rad diag_embed div dot elu embedding eq erf erfc erfinv exp exp2
    expm1 exponential eye fill floor floor_divide fmax fmin fmod frac full full_like gather ge gelu
    glu gt hardsigmoid hardswish hardtanh heaviside index index_add index_copy index_fill index_put
    index_select isfinite isinf isnan le leaky_relu linspace log log10 log1p log2 log_sigmoid_forward
    logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor logit logspace
    logsumexp lt masked_fill masked_scatter matmul max maximum mean min minimum mish mm mul mv
    nan_to_num native_group_norm native_layer_norm ne neg new_empty_strided new_full new_ones
    new_zeros nonzero norm one_hot ones ones_like polar pow prelu prod reciprocal relu remainder
    repeat repeat_interleave round rsqrt rsub scalar_tensor scatter scatter_add scatter_reduce select
    selu sgn sigmoid sign silu sin sinc sinh softplus sort sqrt square std std_mean sub sum take
    tan tanh threshold topk trace tril tril_indices triu triu_indices true_divide trunc unsqueeze var
    var_mean vdot where xlogy zero zeros zeros_like
    _trilinear _adaptive_avg_pool2d _cdist_forward _fused_rms_norm _log_softmax _safe_softmax _softmax
    _weight_norm_interface avg_pool1d hinge_embedding_loss isin linalg_cross linalg_vector_norm
    linalg_matrix_norm linalg_norm linalg_inv_ex linalg_solve_triangular linalg_qr _linalg_svd
    max_pool2d_with_indices mse_loss searchsorted special_entr special_expit special_log1p
    special_xlog1py affine_grid_generator cross kron rms_norm searchsorted softmax log_softmax
    special_erfcx channel_shuffle pixel_shuffle bincount block_diag cosine_similarity inner outer
    _softmax_backward_data _log_softmax_backward_data sigmoid_backward tanh_backward
    threshold_backward gelu_backward silu_backward softplus_backward elu_backward
    hardtanh_backward hardsigmoid_backward leaky_relu_backward log_sigmoid_backward
    native_layer_norm_backward embedding_dense_backward select_backward slice_backward
    diagonal_backward unfold_backward convolution_backward value_selecting_reduction_backward
    index_select_backward _fused_rms_norm_backward native_group_norm_backward
    mish_backward hardswish_backward
    _cdist_backward _conj_physical _convolution _euclidean_dist _fft_c2c _fft_c2r _fft_r2c
    _linalg_solve_ex _logcumsumexp _masked_softmax _native_batch_norm_legit
    _native_batch_norm_legit_no_training _pdist_forward _prelu_kernel _prelu_kernel_backward
    _slow_conv2d_forward _unsafe_index _unsafe_index_put _weight_norm adaptive_avg_pool1d
    addr addbmm addcdiv addcmul addmv aminmax argwhere avg_pool2d batch_norm binary_cross_entropy
    binary_cross_entropy_with_logits broadcast_to bucketize cdist conj conv1d conv2d diag diff
    digamma dist einsum frac gcd glu_backward hardshrink huber_loss hypot i0 im2col imag
    index_reduce inverse kl_div kthvalue l1_loss layer_norm lcm lerp lgamma linalg_cholesky_ex
    linalg_eigh linalg_lu_factor_ex linear masked_select matrix_exp matrix_power median mode
    mse_loss_backward multiply nanmean nansum native_batch_norm nll_loss_forward positive put real
    relu6 renorm scaled_dot_product_attention signbit smooth_l1_loss softshrink
    softshrink_backward tile unique_dim xlogy native_batch_norm_backward
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
    if function is None or any(a.alias_info and a.alias_info.is_write for a in function._schema.arguments):
        raise KeyError(op)
    return function  # type: ignore[no-any-return]
