"""The process between the evaluator and model-written code: takes rights away, then runs the command.

Run as a plain script (`python -I -S sandbox_launcher.py OPTIONS-JSON COMMAND...`), never imported; standard library
only, so that it starts in milliseconds. Three processes: this launcher, the first process of a fresh process
namespace (which no program inside can kill, and whose end ends everything inside), and the command.

OPTIONS: cpu_seconds, memory_bytes, file_bytes, processes, workdir, need (list of "namespaces", "read_only", "user").
What is in `need` must work or the launcher exits with 125; the evaluator finds out once what this machine can do.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = (
    0x20000,
    0x10000000,
    0x20000000,
    0x40000000,
    0x08000000,
)
MS_BIND, MS_REC, MS_PRIVATE = 4096, 1 << 14, 1 << 18
MOUNT_ATTR_RDONLY, AT_RECURSIVE, AT_FDCWD, SYS_MOUNT_SETATTR = 1, 0x8000, -100, 442
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAP_AMBIENT = 1, 8, 38, 22, 47
PR_SET_CHILD_SUBREAPER = 36
CAP_DAC_READ_SEARCH = 2
NOBODY = 65534
SETUP_FAILED = 125
# machine -> (AUDIT_ARCH, number of socket(2))
SECCOMP_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}


class MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def check(result: int, what: str) -> None:
    """Raise OSError for a failed C call."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def enter_namespaces(libc: ctypes.CDLL) -> None:
    """Own network (no loopback either), process, mount and IPC namespaces; a plain user needs a user namespace."""
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
    user, group = os.getuid(), os.getgid()
    if user == 0:
        check(libc.unshare(flags), "unshare")
        return
    check(libc.unshare(flags | CLONE_NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)


def make_read_only(libc: ctypes.CDLL, workdir: str) -> None:
    """Everything but the working folder becomes read-only for this process tree."""
    path = workdir.encode()
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount private")
    check(libc.mount(path, path, None, MS_BIND, None), "mount bind")
    size = ctypes.sizeof(MountAttributes)
    read_only = MountAttributes(MOUNT_ATTR_RDONLY, 0, 0, 0)
    check(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(read_only), size), "mount_setattr")
    writable = MountAttributes(0, MOUNT_ATTR_RDONLY, 0, 0)
    check(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path, 0, ctypes.byref(writable), size), "mount_setattr")


def drop_root(libc: ctypes.CDLL) -> None:
    """Become nobody, keeping only the right to read: root is exempt from process limits, nobody is not."""
    check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keepcaps")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    header = struct.pack("Ii", 0x20080522, 0)
    keep = 1 << CAP_DAC_READ_SEARCH
    check(libc.capset(header, struct.pack("IIIIII", keep, keep, keep, 0, 0, 0)), "capset")
    check(libc.prctl(PR_CAP_AMBIENT, 2, CAP_DAC_READ_SEARCH, 0, 0), "ambient capability")


def forbid_sockets(libc: ctypes.CDLL) -> None:
    """Refuse socket(2) for everything but AF_UNIX with EACCES: the network lock where namespaces are not to be had."""
    machine = SECCOMP_MACHINES.get(os.uname().machine)
    if machine is None:
        raise OSError(f"no socket filter for {os.uname().machine}")
    architecture, socket_number = machine
    program = [
        (0x20, 0, 0, 4),  # load architecture
        (0x15, 0, 4, architecture),
        (0x20, 0, 0, 0),  # load system call number
        (0x15, 0, 2, socket_number),
        (0x20, 0, 0, 16),  # load the low word of the first argument: the address family
        (0x15, 0, 1, 1),  # AF_UNIX?
        (0x06, 0, 0, 0x7FFF0000),  # allow
        (0x06, 0, 0, 0x00050000 | 13),  # EACCES
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    check(libc.prctl(PR_SET_SECCOMP, 2, header, 0, 0), "seccomp")


def set_limits(options: dict[str, int]) -> None:
    """CPU, memory, file size, processes, no core dump. RLIMIT_DATA: V8 and Go reserve far more than they use."""
    limits = [
        (resource.RLIMIT_CPU, options["cpu_seconds"], options["cpu_seconds"] + 1),
        (resource.RLIMIT_DATA, options["memory_bytes"], options["memory_bytes"]),
        (resource.RLIMIT_FSIZE, options["file_bytes"], options["file_bytes"]),
        (resource.RLIMIT_CORE, 0, 0),
    ]
    if options["processes"]:
        limits.append((resource.RLIMIT_NPROC, options["processes"], options["processes"]))
    for name, soft, hard in limits:
        _, allowed = resource.getrlimit(name)
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)
        resource.setrlimit(name, (soft, hard))


def wait_as_first_process(child: int) -> int:
    """Reap every orphan until the command itself ends; its exit status the shell's way (128 + signal)."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def start_command(libc: ctypes.CDLL, options: dict[str, int], need: list[str], command: list[str]) -> None:
    """In the last child: drop rights, set limits, become the command. Never returns."""
    try:
        if "user" in need:
            drop_root(libc)
        if "sockets" in need:
            forbid_sockets(libc)
        set_limits(options)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"sandbox: {error}\n".encode())
    os._exit(SETUP_FAILED)


def main(argv: list[str]) -> int:
    """See the module docstring."""
    options, command = json.loads(argv[1]), argv[2:]
    need = options["need"]
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        os.chdir(options["workdir"])
        if "namespaces" in need:
            enter_namespaces(libc)
        elif sys.platform == "linux":
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if "read_only" in need:
            make_read_only(libc, options["workdir"])
            os.chdir(options["workdir"])
    except OSError as error:
        os.write(2, f"sandbox: {error}\n".encode())
        return SETUP_FAILED
    first = os.fork()
    if first == 0:
        if sys.platform == "linux":
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        child = os.fork()
        if child == 0:
            start_command(libc, options, need, command)
        os._exit(wait_as_first_process(child))
    return wait_as_first_process(first)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
