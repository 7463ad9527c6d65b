"""The system calls that a sandbox refuses, as a seccomp filter for `bwrap --seccomp`.

Three kinds are refused: what makes new user namespaces (the usual first step of an attack on the
kernel), what the other limits do not see (memory outside of any process, the kernel's keyrings and
log, sockets that a network namespace does not bound), and large parts of the kernel that research
code has no use for.
"""

import errno
import struct

# Refused whatever the arguments, as if the kernel had none of them: programs then fall back.
_REFUSED = {
    "x86_64": {
        "clone3": 435,  # its flags are in memory, which a filter cannot read; libc then uses clone
        "unshare": 272,
        "setns": 308,
        "memfd_create": 319,
        "memfd_secret": 447,
        "shmget": 29,
        "semget": 64,
        "msgget": 68,
        "mq_open": 240,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "syslog": 103,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
    },
    "aarch64": {
        "clone3": 435,
        "unshare": 97,
        "setns": 268,
        "memfd_create": 279,
        "memfd_secret": 447,
        "shmget": 194,
        "semget": 190,
        "msgget": 186,
        "mq_open": 180,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "syslog": 116,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
    },
}
_CLONE = {"x86_64": 56, "aarch64": 220}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_CLONE_NEW_NAMESPACE = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16}  # not vsock: no namespace bounds it

# Classic BPF: struct seccomp_data is {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}.
_NR, _ARCH, _ARG0 = 0, 4, 16
_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_X32 = 0x40000000


def supported(machine: str) -> bool:
    """Whether a filter is known for `platform.machine()`."""
    return machine in _REFUSED


def seccomp_filter(machine: str) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Raises:
        ValueError: for a machine other than x86_64 and aarch64.
    """
    if not supported(machine):
        raise ValueError(f"no system call filter for {machine}; known: {', '.join(_REFUSED)}")
    missing = _refuse(errno.ENOSYS)
    program = [
        _op(_LOAD, _ARCH),
        _op(_JEQ, _AUDIT_ARCH[machine], 1, 0),
        missing,  # 32-bit programs have other numbers
        _op(_LOAD, _NR),
        _op(_JGE, _X32, 0, 1),  # and so has x32; no other call has a number this high
        missing,
    ]
    for number in _REFUSED[machine].values():
        program += [_op(_JEQ, number, 0, 1), missing]
    program += _argument_rule(
        _CLONE[machine], [_op(_JSET, _CLONE_NEW_NAMESPACE, 0, 1), _refuse(errno.EPERM)]
    )
    # another process's limits (PID 1's, say) are not the command's to change
    program += _argument_rule(_PRLIMIT[machine], [_op(_JEQ, 0, 1, 0), _refuse(errno.EPERM)])
    families = list(_FAMILIES.values())
    tests = [_op(_JEQ, family, len(families) - i, 0) for i, family in enumerate(families)]
    program += _argument_rule(_SOCKET[machine], [*tests, _refuse(errno.EAFNOSUPPORT)])
    return b"".join([*program, _op(_RETURN, _ALLOW)])


def _argument_rule(number: int, body: list[bytes]) -> list[bytes]:
    """`body` sees the low half of the first argument; falling through it allows the call."""
    rule = [_op(_LOAD, _ARG0), *body, _op(_RETURN, _ALLOW)]
    return [_op(_JEQ, number, 0, len(rule)), *rule]


def _refuse(error: int) -> bytes:
    return _op(_RETURN, 0x00050000 | error)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
