/*
 * Lets User Mode Linux run on a processor whose register state is larger than it knows of.
 *
 * The kernel of Debian 12's user-mode-linux keeps 2696 bytes of each task's extended state (XSAVE, up to
 * AVX-512 and the protection keys). Where the processor has AMX the host has 11008 bytes, and refuses a
 * PTRACE_SETREGSET of less than all: "ptrace set fp regs failed, errno = 14". Preloaded into linux.uml, this
 * hands over as much as it knows of, and sets all of it. The rest are AMX's tiles, which a process must ask
 * for before it can use them, and none here does.
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

#define HEADER 512                /* where the bits stand that say which parts are in use */
#define TILES (3ul << 17)         /* AMX's two */

/* linux.uml has one thread, which handles its signals between its calls. */
static union {
    char bytes[65536];
    unsigned long words[8192];
} whole;
static size_t length_here; /* of all the state that this host has */

static long get(long pid, struct iovec *known)
{
    struct iovec all = {whole.bytes, sizeof whole.bytes};

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all) < 0)
        return -1;
    length_here = all.iov_len;
    if (known->iov_len > all.iov_len)
        known->iov_len = all.iov_len;
    memcpy(known->iov_base, whole.bytes, known->iov_len);
    return 0;
}

static long set(long pid, struct iovec *known)
{
    struct iovec all = {whole.bytes, length_here}, nothing = {0, 0};

    if (!length_here && get(pid, &nothing) < 0)
        return -1;
    all.iov_len = length_here;
    memcpy(whole.bytes, known->iov_base, known->iov_len < length_here ? known->iov_len : length_here);
    whole.words[HEADER / sizeof(long)] &= ~TILES;
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
    if (request == PTRACE_GETREGSET && (long)address == NT_X86_XSTATE)
        return get(pid, data);
    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE)
        return set(pid, data);
    if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) { /* glibc's returns what it read */
        if (syscall(SYS_ptrace, request, pid, address, &peeked) < 0)
            return -1;
        errno = 0;
        return peeked;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
