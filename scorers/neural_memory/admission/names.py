"""Which names may a submission reach? The tables behind the admission gate, as plain data.

`MODULES` says, for each module that a submission may use, what it may take from it: a set of names,
or `public(...)`, every public name but those. A module that is not in the table may not be used.
"""

import builtins
import re
import sys
import types
from dataclasses import dataclass
from functools import lru_cache

BUILTINS = frozenset(dir(builtins))
STDLIB = sys.stdlib_module_names


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Names:
    """The names of one module that may be used.

    Attributes:
        only: these, or if None, every public name but `never` and the modules it carries.
        capital: of the public names, only those of classes.
        also: names that may be used all the same.
    """

    only: frozenset[str] | None
    never: frozenset[str] = frozenset()
    capital: bool = False
    also: frozenset[str] = frozenset()

    def hold(self, name: str) -> bool:
        if self.only is not None:
            return name in self.only
        if name.startswith("_") or name in self.never | CARRIED or self.capital > name[0].isupper():
            return name in self.also
        return True


def only(names: str) -> Names:
    return Names(words(names))


def public(*, never: str = "", also: str = "") -> Names:
    return Names(None, words(never), also=words(also))


def classes(*, also: str = "") -> Names:
    return Names(None, capital=True, also=words(also))


# Modules that other modules carry as attributes: `torch.sys`, `F.torch`, `dataclasses.sys`.
CARRIED = (sys.stdlib_module_names | {"torch", "np", "numpy", "fwAD", "F"}) - {
    "array", "chunk", "copy", "select", "trace",  # torch and numpy have operations of these names
}  # fmt: skip

_TORCH_NEVER = """
    load save from_file frombuffer get_file_path import_ir_module import_ir_module_from_buffer
    parse_ir parse_schema parse_type_comment merge_type_from_type_comment unify_type_list
    prepare_multiprocessing_environment init_num_threads classproperty get_device_module fork wait
    from_dlpack to_dlpack classes cpp export futures fx hub library monitor mtia
    multiprocessing ops overrides package quantization quasirandom serialization storage ao
    torch_version windows accelerator onnx
    AliasDb Argument ArgumentSpec BenchmarkConfig Block CallStack Capsule Code CompilationUnit
    CompleteArgumentSpec ConcreteModuleType ConcreteModuleTypeBuilder DeepCopyMemoTable
    DeserializationStorageContext DisableTorchFunction DisableTorchFunctionSubclass DispatchKey
    DispatchKeySet ErrorReport ExcludeDispatchKeyGuard ExecutionPlan FileCheck FunctionSchema
    Gradient Graph GraphExecutorState IODescriptor LiteScriptModule LockingLogger LoggerBase Node
    NoopLogger OperatorInfo PyTorchFileReader PyTorchFileWriter ScriptModuleSerializer
    SerializationStorageContext StaticModule StorageBase ThroughputBenchmark TracingState
    UntypedStorage TypedStorage Storage Use Value
"""
_NUMPY_NEVER = """
    load save savez savez_compressed loadtxt savetxt genfromtxt fromfile fromregex fromstring
    frombuffer from_dlpack memmap get_include info test seterrcall show_config
    show_runtime core lib ma polynomial emath bmat f2py ctypeslib testing rec char strings dtypes
    exceptions
"""
_TYPING_NEVER = """
    get_type_hints ForwardRef collections functools operator sys types warnings contextlib io re
    stdlib_re
"""

_LAYERS = """
    activation adaptive batchnorm channelshuffle container conv distance dropout flatten fold
    instancenorm linear loss normalization padding pixelshuffle pooling rnn sparse transformer
    upsampling
"""
_DISTRIBUTIONS = (
    "bernoulli beta categorical dirichlet gumbel multinomial multivariate_normal normal uniform"
)

MODULES: dict[str, Names] = {
    "torch": public(never=_TORCH_NEVER),
    "torch.nn": classes(),
    "torch.nn.functional": public(
        never="grad handle_torch_function has_torch_function has_torch_function_unary "
        "has_torch_function_variadic boolean_dispatch"
    ),
    "torch.nn.init": public(
        also="_calculate_fan_in_and_fan_out _calculate_correct_fan _no_grad_trunc_normal_"
    ),
    "torch.nn.parameter": only("Parameter Buffer UninitializedParameter UninitializedBuffer"),
    "torch.nn.modules": classes(),
    "torch.nn.modules.module": only("Module"),
    **{f"torch.nn.modules.{n}": classes() for n in words(_LAYERS)},
    "torch.nn.utils": only(
        "clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_ get_total_norm "
        "parameters_to_vector vector_to_parameters spectral_norm remove_spectral_norm weight_norm "
        "remove_weight_norm skip_init"
    ),
    "torch.nn.utils.parametrizations": only("orthogonal spectral_norm weight_norm"),
    "torch.nn.utils.parametrize": only(
        "ParametrizationList cached is_parametrized register_parametrization "
        "remove_parametrizations"
    ),
    "torch.nn.utils.rnn": only(
        "PackedSequence pack_padded_sequence pack_sequence pad_packed_sequence pad_sequence "
        "unpad_sequence unpack_sequence"
    ),
    "torch.nn.utils.stateless": only("functional_call"),
    "torch.nn.attention": only("sdpa_kernel SDPBackend"),
    "torch.nn.attention.bias": only("causal_lower_right causal_upper_left CausalBias"),
    "torch.nn.attention.flex_attention": only(
        "flex_attention create_block_mask create_mask BlockMask and_masks or_masks noop_mask"
    ),
    "torch.autograd": only(
        "Function Variable backward grad gradcheck gradgradcheck no_grad enable_grad "
        "inference_mode set_grad_enabled detect_anomaly set_detect_anomaly"
    ),
    "torch.autograd.function": only("Function FunctionCtx InplaceFunction once_differentiable"),
    "torch.autograd.functional": only("hessian hvp jacobian jvp vhp vjp"),
    "torch.autograd.forward_ad": only("dual_level make_dual unpack_dual"),
    "torch.autograd.grad_mode": only("no_grad enable_grad inference_mode set_grad_enabled"),
    "torch.autograd.profiler": only("record_function"),
    "torch.func": public(),
    "torch.jit": only(
        "Attribute Final ScriptFunction ScriptModule annotate export fork freeze ignore interface "
        "is_scripting is_tracing isinstance optimize_for_inference script script_if_tracing "
        "script_method trace trace_module unused wait"
    ),
    "torch.linalg": public(),
    "torch.fft": public(),
    "torch.special": public(),
    "torch.functional": public(
        never="F handle_torch_function has_torch_function has_torch_function_unary "
        "has_torch_function_variadic boolean_dispatch"
    ),
    "torch.signal": only(""),
    "torch.signal.windows": public(never="windows"),
    "torch.optim": classes(),
    "torch.optim.lr_scheduler": classes(),
    **{f"torch.optim.{n}": classes() for n in words("optimizer adam adamw sgd rmsprop")},
    "torch.distributions": classes(also="kl_divergence register_kl biject_to transform_to"),
    **{f"torch.distributions.{n}": classes() for n in words(_DISTRIBUTIONS)},
    "torch.distributions.kl": only("kl_divergence"),
    "torch.nn.parallel": only("DataParallel DistributedDataParallel"),
    "torch.distributed": only("get_rank get_world_size is_available is_initialized"),
    "torch.amp": only("GradScaler autocast custom_bwd custom_fwd is_autocast_available"),
    "torch.amp.autocast_mode": only("autocast is_autocast_available"),
    "torch.cpu": only("device_count is_available synchronize"),
    "torch.cpu.amp": only("GradScaler autocast"),
    "torch.cuda": only(
        "Event Stream FloatTensor LongTensor HalfTensor current_device current_stream "
        "default_generators device "
        "device_count empty_cache get_device_capability get_device_name get_device_properties "
        "get_rng_state is_available is_bf16_supported is_initialized manual_seed manual_seed_all "
        "max_memory_allocated max_memory_reserved mem_get_info memory_allocated memory_reserved "
        "memory_summary reset_max_memory_allocated reset_peak_memory_stats seed seed_all "
        "set_device set_rng_state stream synchronize OutOfMemoryError"
    ),
    "torch.cuda.amp": only("GradScaler autocast custom_bwd custom_fwd"),
    "torch.cuda.amp.grad_scaler": only("GradScaler"),
    "torch.xpu": only("device_count empty_cache is_available synchronize"),
    "torch.cuda.nvtx": only("mark range range_pop range_push"),
    "torch.mps": only("device_count empty_cache is_available manual_seed synchronize"),
    "torch.backends": only(""),
    "torch.backends.opt_einsum": only("enabled is_available strategy"),
    "torch.backends.openmp": only("is_available"),
    "torch.backends.cpu": only("get_cpu_capability"),
    "torch.backends.cuda": only(
        "SDPBackend cublas_workspace_size cudnn_sdp_enabled enable_cudnn_sdp enable_flash_sdp "
        "enable_math_sdp enable_mem_efficient_sdp flash_sdp_enabled is_built "
        "is_flash_attention_available math_sdp_enabled matmul mem_efficient_sdp_enabled "
        "preferred_linalg_library sdp_kernel"
    ),
    "torch.backends.cudnn": only(
        "allow_tf32 benchmark deterministic enabled flags is_available version rnn conv"
    ),
    "torch.backends.mkl": only("is_available"),
    "torch.backends.mkldnn": only("enabled flags is_available"),
    "torch.backends.mps": only("is_available is_built"),
    "torch.compiler": only(
        "allow_in_graph assume_constant_result compile cudagraph_mark_step_begin disable "
        "is_compiling is_dynamo_compiling is_exporting reset set_stance"
    ),
    "torch._dynamo": only(
        "allow_in_graph disable graph_break is_compiling mark_dynamic mark_static "
        "mark_static_address reset"
    ),
    "torch._dynamo.config": only(
        "accumulated_cache_size_limit cache_size_limit capture_scalar_outputs recompile_limit "
        "suppress_errors verbose"
    ),
    "torch.random": only("fork_rng get_rng_state manual_seed seed set_rng_state"),
    "torch.sparse": only("addmm log_softmax mm sampled_addmm softmax spdiags sum"),
    "torch.masked": public(never="maskedtensor"),
    "torch.nested": only(
        "as_nested_tensor masked_select narrow nested_tensor nested_tensor_from_jagged "
        "to_padded_tensor"
    ),
    "torch.profiler": only("record_function"),
    "torch.return_types": public(never="inspect return_types torch register_pytree_node"),
    "torch.testing": only("assert_close make_tensor"),
    "torch.types": only("Device Number Size Tensor"),
    "torch.version": only("cuda git_version hip"),
    "torch.utils": only(""),
    "torch.utils.checkpoint": only(
        "CheckpointPolicy checkpoint checkpoint_sequential create_selective_checkpoint_contexts "
        "get_device_states noop_context_fn set_checkpoint_early_stop set_device_states"
    ),
    "torch.utils.data": only(
        "BatchSampler ConcatDataset DataLoader Dataset IterableDataset RandomSampler Sampler "
        "SequentialSampler Subset TensorDataset default_collate random_split"
    ),
    "torch.utils._pytree": only(
        "tree_flatten tree_leaves tree_map tree_map_ tree_map_only tree_unflatten"
    ),
    "torch._higher_order_ops": only("associative_scan cond foreach_map map scan while_loop"),
    "torch._higher_order_ops.associative_scan": only("associative_scan"),
    "torch._higher_order_ops.scan": only("scan"),
    "torch._higher_order_ops.while_loop": only("while_loop"),
    "numpy": public(never=_NUMPY_NEVER),
    "numpy.linalg": public(never="test"),
    "numpy.fft": public(never="test"),
    "numpy.random": public(never="test mtrand bit_generator set_bit_generator", also="random"),
    "packaging": only(""),
    "packaging.version": only("InvalidVersion Version parse"),
    "numpy.typing": only("ArrayLike DTypeLike NDArray"),
    "builtins": public(
        never="exec eval compile open globals input breakpoint exit quit help copyright credits "
        "license memoryview SystemExit"
    ),
    "math": public(),
    "cmath": public(),
    "itertools": public(),
    "operator": public(),
    "numbers": only("Complex Integral Number Rational Real"),
    "fractions": only("Fraction"),
    "statistics": only("mean fmean median mode pstdev pvariance stdev variance"),
    "random": only(
        "Random betavariate choice choices expovariate gauss getrandbits getstate lognormvariate "
        "normalvariate paretovariate randint random randrange sample seed setstate shuffle "
        "triangular uniform vonmisesvariate"
    ),
    "string": only(
        "ascii_letters ascii_lowercase ascii_uppercase digits hexdigits octdigits printable "
        "punctuation whitespace"
    ),
    "re": only(
        "A ASCII DOTALL I IGNORECASE M MULTILINE Match Pattern S VERBOSE X compile error escape "
        "findall finditer fullmatch match search split sub subn"
    ),
    "json": only("dumps loads JSONDecodeError"),
    "time": only("strftime"),  # a model that reads the clock can change with it
    "copy": only("copy deepcopy"),
    "heapq": only("heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest"),
    "bisect": only("bisect bisect_left bisect_right insort insort_left insort_right"),
    "weakref": only("ref ReferenceType WeakKeyDictionary WeakSet WeakValueDictionary"),
    "textwrap": only("dedent fill indent shorten wrap"),
    "pprint": only("pformat pp pprint"),
    "functools": only(
        "cache cached_property cmp_to_key lru_cache partial partialmethod reduce total_ordering "
        "update_wrapper wraps"
    ),
    "collections": only(
        "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque namedtuple"
    ),
    "collections.abc": public(),
    "typing": public(never=_TYPING_NEVER),
    "typing_extensions": public(never=_TYPING_NEVER + " functools builtins enum"),
    "types": only(
        "BuiltinFunctionType BuiltinMethodType EllipsisType FunctionType GeneratorType "
        "GenericAlias LambdaType MappingProxyType MethodType NoneType NotImplementedType "
        "SimpleNamespace UnionType"
    ),
    "dataclasses": only(
        "Field FrozenInstanceError InitVar KW_ONLY MISSING asdict astuple dataclass field fields "
        "is_dataclass replace"
    ),
    "enum": only(
        "CONTINUOUS Enum Flag IntEnum IntFlag KEEP STRICT StrEnum UNIQUE auto unique verify member "
        "nonmember"
    ),
    "abc": only(
        "ABC ABCMeta abstractclassmethod abstractmethod abstractproperty abstractstaticmethod"
    ),
    "contextlib": only(
        "AbstractContextManager AsyncExitStack ContextDecorator ExitStack aclosing closing "
        "contextmanager nullcontext suppress"
    ),
    "warnings": only("catch_warnings filterwarnings resetwarnings simplefilter warn"),
    "logging": only(
        "CRITICAL DEBUG ERROR INFO Logger NOTSET NullHandler WARNING basicConfig critical debug "
        "error exception getLogger info warning"
    ),
    "inspect": only("Parameter Signature isclass isfunction ismethod signature"),
    "sys": only("byteorder float_info maxsize platform stderr stdout version version_info"),
    "__future__": public(),
}  # fmt: skip

# Packages that good code asks for and does without (`try: import einops`). None of them is needed,
# none of them can reach the recorder by a public name.
HARMLESS_PACKAGES = words(
    "einops opt_einsum tqdm flash_attn xformers mamba_ssm causal_conv1d triton apex "
    "torchtyping jaxtyping beartype"
)

# `torch.math` is `math`.
ALIASES = {
    "torch.math": "math", "torch.nn.functional.math": "math", "torch.nn.init.math": "math",
    "torch.torch": "torch",
    "torch.optim.lr_scheduler.math": "math",
}  # fmt: skip

# Private names of torch that good code uses.
PRIVATE_FRIENDS = words(
    "torch._assert torch._check torch._scaled_mm torch.nn.Module._get_name "
    "torch.nn.Module._load_from_state_dict torch.nn.Module._save_to_state_dict "
    "torch.nn.modules.batchnorm._BatchNorm torch.nn.modules.conv._ConvNd "
    "torch.nn.modules.dropout._DropoutNd torch.nn.modules.instancenorm._InstanceNorm "
    "torch.cuda._initialized torch.optim.lr_scheduler._LRScheduler"
)

# Settings of torch that good code writes to.
SETTINGS = words(
    "torch.backends.cuda.matmul.allow_tf32 "
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction "
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction "
    "torch.backends.cuda.matmul.fp32_precision torch.backends.cudnn.conv.fp32_precision "
    "torch.backends.cudnn.allow_tf32 torch.backends.cudnn.benchmark "
    "torch.backends.cudnn.deterministic torch.backends.cudnn.enabled"
) | {f"torch._dynamo.config.{n}" for n in MODULES["torch._dynamo.config"].only or ()}

# Values of torch that are no class and no function, and that a variable may hold by the way.
CONSTANTS = words(
    "float float16 float32 float64 bfloat16 half double int int8 int16 int32 int64 uint8 uint16 "
    "uint32 uint64 short long bool complex64 complex128 cfloat cdouble strided sparse_coo "
    "contiguous_format channels_last preserve_format inf nan pi e newaxis tau"
)

# Double-underscore names of the data model that good code reads (`self.__class__.__name__`).
READABLE = words(
    "__class__ __name__ __qualname__ __module__ __doc__ __version__ __all__ __dict__ __members__ "
    "__slots__ __dataclass_fields__ __constants__ __match_args__ __author__ __file__"
)
# ... and defines, mostly operators.
DEFINABLE = words(
    "__init__ __new__ __post_init__ __init_subclass__ __set_name__ __class_getitem__ __repr__ "
    "__str__ __bytes__ __format__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __bool__ "
    "__len__ __length_hint__ __getitem__ __setitem__ __delitem__ __contains__ __iter__ __next__ "
    "__reversed__ __missing__ __call__ __enter__ __exit__ __aenter__ __aexit__ __getattr__ "
    "__setattr__ __delattr__ __dir__ __copy__ __deepcopy__ __add__ __radd__ __iadd__ __sub__ "
    "__rsub__ __isub__ __mul__ __rmul__ __imul__ __matmul__ __rmatmul__ __imatmul__ __truediv__ "
    "__rtruediv__ __itruediv__ __floordiv__ __rfloordiv__ __mod__ __rmod__ __divmod__ __pow__ "
    "__rpow__ __ipow__ __lshift__ __rshift__ __rlshift__ __rrshift__ __and__ __rand__ __iand__ "
    "__or__ __ror__ __ior__ __xor__ __rxor__ __ixor__ __rdivmod__ __ifloordiv__ __imod__ __neg__ "
    "__pos__ __abs__ __invert__ __int__ __float__ __complex__ __index__ __round__ __trunc__ "
    "__floor__ __ceil__ __getstate__ __setstate__ __await__ __aiter__ __anext__ __get__ __set__ "
    "__delete__"
)
# ... and assigns at the top of the file or of a class.
ASSIGNABLE = words(
    "__all__ __version__ __author__ __email__ __license__ __date__ __copyright__ __credits__ "
    "__maintainer__ __status__ __doc__ __slots__ __constants__ __match_args__ "
    "__jit_unused_properties__ __hash__ __repr__ __str__ __call__ __name__ __qualname__ "
    "__module__"
)
# ... and uses as variables.
SPELLABLE = words("__name__ __doc__ __file__ __debug__ __class__ __all__ __version__")

# Ways to a stack frame or to code, which nothing else is called.
ENTRIES = words(
    "tb_frame tb_lasti tb_next gi_code gi_frame gi_yieldfrom cr_await cr_code cr_frame cr_origin "
    "ag_await ag_code ag_frame co_code co_consts co_names func_globals func_code f_builtins "
    "f_globals f_locals _getframe _current_frames"
)
# Attributes that mean trouble unless the submission has a field of that name.
TROUBLE = words(
    "sys os gc ctypes cffi builtins importlib subprocess obj tofile mro f_back f_code f_trace "
    "_C _python_dispatch _sys _os _module _VF _VariableFunctions"
)

# What may be done with `sys.stdout`.
STREAM = words("write writelines flush isatty encoding")

# What PyTorch and the recorder ask a module for; own versions could hide a parameter or a part.
LISTINGS = words(
    "parameters named_parameters buffers named_buffers modules named_modules "
    "_named_members _call_impl _wrapped_call_impl _slow_forward"
)

# Methods that PyTorch, Python or the grader call without the submission naming them.
CALLED_BY_OTHERS = LISTINGS | words(
    "forward backward setup_context jvp vmap train eval children named_children state_dict "
    "load_state_dict apply to cpu cuda float double half bfloat16 type zero_grad requires_grad_ "
    "add_module register_module register_buffer register_parameter get_submodule get_parameter "
    "get_buffer set_submodule get_extra_state set_extra_state extra_repr share_memory to_empty "
    "compile register_forward_hook register_forward_pre_hook register_full_backward_hook "
    "register_full_backward_pre_hook register_backward_hook register_state_dict_post_hook "
    "register_state_dict_pre_hook register_load_state_dict_pre_hook "
    "register_load_state_dict_post_hook ipu xpu mtia training dump_patches call_super_init "
    "T_destination "
    "right_inverse reset_parameters "
    # Python, of any object that it is handed
    "keys write flush close read readline fileno isatty emit handle filter acquire release format "
    "level "
    # the grader, of what forward returns
    "logits values items get"
)


# Names with a meaning to Python, PyTorch or numpy; others are the submission's own affair.
_TYPES = (
    object, type, int, str, bytes, list, dict, float, property, memoryview, BaseException,
    *(getattr(types, n) for n in dir(types) if n.endswith("Type") and n != "DynamicClassAttribute"),
)  # fmt: skip
KNOWN = frozenset(n for t in _TYPES for n in dir(t)) | words(
    "__builtins__ __import__ __build_class__ __loader__ __spec__ __path__ __package__ __file__ "
    "__cached__ __torch_function__ __torch_dispatch__ __instancecheck__ __subclasscheck__ "
    "__prepare__ __mro_entries__ __del__ __wrapped__ __array__ __array_interface__ "
    "__array_struct__ __array_function__ __array_ufunc__ __cuda_array_interface__ __dlpack__ "
    "__tensor_flatten__ __tensor_unflatten__ __fspath__ __getattr__ __func__ __self__"
)


def is_dunder(name: str) -> bool:
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def refuse_attribute(name: str) -> str | None:
    """Why an attribute of this name may not be read on any object, or None."""
    if name in ENTRIES:
        return f"reads `.{name}`, a way to the interpreter's insides"
    if is_dunder(name) and name not in READABLE and name not in DEFINABLE:
        return f"reads `.{name}`, a way to the interpreter's insides"
    return None


def refuse_member(path: str, name: str) -> str | None:
    """Why an attribute of a class or function that is not the submission's own may not be read."""
    if reason := refuse_attribute(name):
        return f"{reason} (`{path}`)"
    if name in TROUBLE or name == "__dict__":
        return f"uses `{path}`, a way out of the model"
    return None


def is_module(path: str) -> bool:
    """Whether a dotted path, as `resolve` gives it, is a whole module."""
    return path in MODULES or ("." not in path and not path.startswith("<"))


def resolve(path: str) -> str:
    """The path with aliases such as `torch.math` replaced by what they are."""
    return ALIASES.get(path, path)


def is_open(path: str) -> bool:
    """Whether a dotted path is a module, or may be one because its root is unknown."""
    return path in MODULES or (path.split(".")[0] not in MODULES and path.count(".") < 6)


def may_be_exported(module: str, name: str) -> bool:
    """Whether `from module import *` may give this name; lenient, but never about a bad name."""
    table = MODULES.get(module)
    return table is None or table.hold(name) or name in CARRIED | table.never


def may_be_refused(module: str, pattern: re.Pattern[str]) -> bool:
    """Whether a name that is only known to fit `pattern` could be one to refuse."""
    names = CARRIED | ENTRIES | TROUBLE | (MODULES[module].never if module in MODULES else set())
    return module not in MODULES or any(pattern.fullmatch(n) for n in [*names, "_x", "__x__"])


@lru_cache(maxsize=4096)
def refuse(path: str) -> str | None:
    """Why a dotted path that starts at an imported module may not be used, or None."""
    parts = path.split(".")
    module: str | None = parts[0]
    if path.startswith("<"):  # `type(x)` or a caught exception
        if path == "<exception>.obj":
            return "reads `.obj` of an exception, a way out of the model"
        return next((r for p in parts[1:] if (r := refuse_member(path, p))), None)
    shown = path.removeprefix("builtins.")
    if module in HARMLESS_PACKAGES:
        inner = next((p for p in parts[1:] if p in TROUBLE or refuse_attribute(p)), None)
        return f"uses `{shown}`, which is not torch" if inner else None
    if module not in MODULES:
        return f"uses `{shown}`, which is neither torch nor plain maths"
    for i, name in enumerate(parts[1:], start=2):
        here = ".".join(parts[:i])
        if here in PRIVATE_FRIENDS or here.startswith("torch._foreach_"):
            module = None
        elif module is None:
            if reason := refuse_member(here, name):
                return reason
            if name in CARRIED:
                return f"uses `{here}`, a way out of the model"
            if parts[0] == "sys" and parts[1].startswith("std") and name not in STREAM:
                return f"uses `{here}`, a way to files"
            if name.startswith("_") and not is_dunder(name):
                return f"uses `{here}`, a private part of {parts[0]}"
        elif f"{module}.{name}" in ALIASES:
            module = ALIASES[f"{module}.{name}"]
        elif f"{module}.{name}" in MODULES:
            module = f"{module}.{name}"
        elif is_dunder(name):
            if name not in {"__version__", "__name__", "__doc__"}:
                return f"uses `{here}`, a way to the insides of a module"
            module = None
        elif not MODULES[module].hold(name):
            return f"uses `{shown}`, which no model needs"
        else:
            module = None
    return None
