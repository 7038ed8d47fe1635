/*
 * Lets User Mode Linux run on a processor whose register state is larger than it knows of.
 *
 * The kernel of Debian 12's user-mode-linux keeps 2696 bytes of each task's extended state (XSAVE, up to
 * AVX-512 and the protection keys). Where the processor has AMX the host has 11008 bytes, and refuses a
 * PTRACE_SETREGSET of less than all: "ptrace set fp regs failed, errno = 14". Preloaded into linux.uml, this
 * hands over as much as it knows of, and completes what it sets by what the host has. The rest are AMX's
 * tiles, which a process must ask for before it can use them, and none here does.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char whole[65536]; /* linux.uml has one thread, which handles its signals between its calls */

static long extended_state(enum __ptrace_request request, long pid, struct iovec *known)
{
    struct iovec all = {whole, sizeof whole};
    size_t length;

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all) < 0)
        return -1;
    length = known->iov_len < all.iov_len ? known->iov_len : all.iov_len;
    if (request == PTRACE_GETREGSET) {
        memcpy(known->iov_base, whole, length);
        known->iov_len = length;
        return 0;
    }
    memcpy(whole, known->iov_base, length);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    long pid, peeked;
    void *address, *data;

    va_start(arguments, request);
    pid = va_arg(arguments, long);
    address = va_arg(arguments, void *);
    data = va_arg(arguments, void *);
    va_end(arguments);
    if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) && (long)address == NT_X86_XSTATE)
        return extended_state(request, pid, data);
    if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) { /* glibc's returns what it read */
        if (syscall(SYS_ptrace, request, pid, address, &peeked) < 0)
            return -1;
        errno = 0;
        return peeked;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
