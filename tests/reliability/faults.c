/* Disturb the n-th file operation below a folder: a library for LD_PRELOAD, configured by the variable FAULTS.

   FAULTS="ROOT:COUNTER:CLASSES:N:ACTION:ERRNO:LOG"
     ROOT     operations on paths below this folder count, all others pass
     COUNTER  an existing file of 8 bytes, shared by all processes: how many operations were counted
     CLASSES  which operations count: any of w (data written), s (flushed), n (names: create, rename, remove, make
              folders), r (opened for reading, read)
     N        the operation to disturb, from 1; 0 only counts
     ACTION   fail     it fails with ERRNO
              full     half of a write reaches the file, then it and all later writes and names fail with ERRNO
              short    a write or read moves half of its bytes and says so, as POSIX allows
              killed   the process is killed before it
              done     the process is killed after it
              torn     half of a write reaches the file, then the process is killed
     LOG      a file to append `w PATH`, `s PATH`, `n FROM TO` and `c PATH` lines to, or empty

   Everything that reaches the C library is covered: Python's own files, TensorStore, ArrayRecord, safetensors. Memory
   maps and what the C library does inside itself are not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum action { FAIL, FULL, SHORT, KILLED, DONE, TORN, NONE };

static char root[PATH_MAX], classes[8];
static atomic_long *counter;
static long target;
static enum action action = NONE;
static int number, journal = -1, armed;

/* Read FAULTS. Called when the library is loaded, and by a process that was forked after that. */
__attribute__((constructor)) void faults_arm(void) {
    static const char *names[] = {"fail", "full", "short", "killed", "done", "torn"};
    char *text = getenv("FAULTS"), *part[7] = {0}, *copy;
    armed = 0;
    if (!text || !(copy = strdup(text))) return;
    for (int i = 0; i < 7; i++) part[i] = strsep(&copy, ":");
    if (!part[6]) return;
    snprintf(root, sizeof root, "%s", part[0]);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, part[1], O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    counter = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    snprintf(classes, sizeof classes, "%s", part[2]);
    target = atol(part[3]);
    action = NONE;
    for (int i = 0; i < 6; i++) if (!strcmp(part[4], names[i])) action = (enum action)i;
    number = atoi(part[5]);
    journal = *part[6] ? (int)syscall(SYS_openat, AT_FDCWD, part[6], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    armed = 1;
}

static int absolute(int folder, const char *path, char *out) {
    char base[PATH_MAX], link[64];
    if (!path) return 0;
    if (*path == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, base, sizeof base - 1);
        if (size < 0) return 0;
        base[size] = 0;
    }
    return snprintf(out, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

static int inside(const char *path) { return !strncmp(path, root, strlen(root)); }

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, out, PATH_MAX - 1);
    if (size < 0) return 0;
    out[size] = 0;
    return inside(out);
}

static void note(char kind, const char *path, const char *other) {
    if (journal < 0) return;
    char line[2 * PATH_MAX + 8];
    int size = snprintf(line, sizeof line, "%c\t%s\t%s\n", kind, path, other ? other : "");
    syscall(SYS_write, journal, line, size);
}

static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); pause(); }

/* What happens to an operation of a class: -1 lets it pass, otherwise an action. */
static int verdict(char class, int is_data) {
    if (!armed || !strchr(classes, class)) return -1;
    long now = atomic_fetch_add(counter, 1) + 1;
    if (!target) return -1;
    if (action == FULL && now > target && class != 'r' && class != 's') return FAIL;
    if (now != target) return -1;
    if (action == KILLED) die();
    if (!is_data && (action == FULL || action == SHORT || action == TORN)) return action == TORN ? DONE : action == SHORT ? -1 : FAIL;
    return action;
}

#define REFUSED(what) do { if ((what) == FAIL) { errno = number; return -1; } } while (0)
#define FINISHED(what) do { if ((what) == DONE) die(); } while (0)

static ssize_t partly(int what, ssize_t moved) {
    if (what == TORN) die();
    if (what == FULL) { errno = number; return -1; }
    return moved;
}

#define DATA(class, fd, size, whole, half)                                                  \
    char where[PATH_MAX];                                                                   \
    if (!armed || !path_of(fd, where)) return whole;                                        \
    if (class == 'w') note('w', where, NULL);                                               \
    int what = verdict(class, 1);                                                           \
    REFUSED(what);                                                                          \
    if ((what == FULL || what == SHORT || what == TORN) && (size) > 1) return partly(what, half); \
    if (what == FULL) { errno = number; return -1; }                                        \
    ssize_t moved = whole;                                                                  \
    if (what == TORN) die();                                                                \
    FINISHED(what);                                                                         \
    return moved;

ssize_t write(int fd, const void *data, size_t size) {
    DATA('w', fd, size, REAL(write)(fd, data, size), REAL(write)(fd, data, size / 2))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    DATA('w', fd, size, REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, size / 2, at))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    DATA('w', fd, size, REAL(pwrite64)(fd, data, size, at), REAL(pwrite64)(fd, data, size / 2, at))
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    DATA('w', fd, parts[0].iov_len, REAL(writev)(fd, parts, count), REAL(write)(fd, parts[0].iov_base, parts[0].iov_len / 2))
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    DATA('w', fd, parts[0].iov_len, REAL(pwritev)(fd, parts, count, at), REAL(pwrite)(fd, parts[0].iov_base, parts[0].iov_len / 2, at))
}
ssize_t sendfile(int fd, int from, off_t *at, size_t size) {
    DATA('w', fd, size, REAL(sendfile)(fd, from, at, size), REAL(sendfile)(fd, from, at, size / 2))
}
ssize_t copy_file_range(int from, off64_t *start, int fd, off64_t *at, size_t size, unsigned flags) {
    DATA('w', fd, size, REAL(copy_file_range)(from, start, fd, at, size, flags),
         REAL(copy_file_range)(from, start, fd, at, size / 2, flags))
}
ssize_t read(int fd, void *data, size_t size) {
    DATA('r', fd, size, REAL(read)(fd, data, size), REAL(read)(fd, data, size / 2))
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    DATA('r', fd, size, REAL(pread)(fd, data, size, at), REAL(pread)(fd, data, size / 2, at))
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    DATA('r', fd, size, REAL(pread64)(fd, data, size, at), REAL(pread64)(fd, data, size / 2, at))
}

#define FLAT(class, kind, here, there, call)                 \
    char first[PATH_MAX], second[PATH_MAX] = "";             \
    if (!armed || !(here) || !(there) || !inside(first)) return call; \
    int what = verdict(class, 0);                            \
    REFUSED(what);                                           \
    int result = call;                                       \
    if (!result) note(kind, first, second);                  \
    FINISHED(what);                                          \
    return result;

int fsync(int fd) { FLAT('s', 's', path_of(fd, first), 1, REAL(fsync)(fd)) }
int fdatasync(int fd) { FLAT('s', 's', path_of(fd, first), 1, REAL(fdatasync)(fd)) }
int ftruncate(int fd, off_t size) { FLAT('w', 'w', path_of(fd, first), 1, REAL(ftruncate)(fd, size)) }
int ftruncate64(int fd, off64_t size) { FLAT('w', 'w', path_of(fd, first), 1, REAL(ftruncate64)(fd, size)) }
int rename(const char *a, const char *b) {
    FLAT('n', 'n', absolute(AT_FDCWD, a, first), absolute(AT_FDCWD, b, second), REAL(rename)(a, b))
}
int renameat(int x, const char *a, int y, const char *b) {
    FLAT('n', 'n', absolute(x, a, first), absolute(y, b, second), REAL(renameat)(x, a, y, b))
}
int renameat2(int x, const char *a, int y, const char *b, unsigned flags) {
    FLAT('n', 'n', absolute(x, a, first), absolute(y, b, second), REAL(renameat2)(x, a, y, b, flags))
}
int link(const char *a, const char *b) {
    FLAT('n', 'c', absolute(AT_FDCWD, b, first), 1, REAL(link)(a, b))
}
int unlink(const char *a) { FLAT('n', 'd', absolute(AT_FDCWD, a, first), 1, REAL(unlink)(a)) }
int unlinkat(int x, const char *a, int flags) { FLAT('n', 'd', absolute(x, a, first), 1, REAL(unlinkat)(x, a, flags)) }
int rmdir(const char *a) { FLAT('n', 'd', absolute(AT_FDCWD, a, first), 1, REAL(rmdir)(a)) }
int remove(const char *a) { FLAT('n', 'd', absolute(AT_FDCWD, a, first), 1, REAL(remove)(a)) }
int mkdir(const char *a, mode_t mode) { FLAT('n', 'c', absolute(AT_FDCWD, a, first), 1, REAL(mkdir)(a, mode)) }
int mkdirat(int x, const char *a, mode_t mode) { FLAT('n', 'c', absolute(x, a, first), 1, REAL(mkdirat)(x, a, mode)) }

/* Opening counts as a name where it may create or cut a file, else as a read; folders pass. */
#define OPENED(folder, path, flags, call)                                            \
    char first[PATH_MAX];                                                            \
    if (!armed || ((flags) & O_DIRECTORY) || !absolute(folder, path, first) || !inside(first)) return call; \
    int writes = ((flags) & (O_CREAT | O_TRUNC)) != 0;                               \
    int what = verdict(writes ? 'n' : 'r', 0);                                       \
    REFUSED(what);                                                                   \
    int result = call;                                                               \
    if (result >= 0 && writes) note('c', first, NULL);                               \
    FINISHED(what);                                                                  \
    return result;
#define MODE va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest)

int open(const char *path, int flags, ...) { MODE; OPENED(AT_FDCWD, path, flags, REAL(open)(path, flags, mode)) }
int open64(const char *path, int flags, ...) { MODE; OPENED(AT_FDCWD, path, flags, REAL(open64)(path, flags, mode)) }
int openat(int x, const char *path, int flags, ...) { MODE; OPENED(x, path, flags, REAL(openat)(x, path, flags, mode)) }
int openat64(int x, const char *path, int flags, ...) { MODE; OPENED(x, path, flags, REAL(openat64)(x, path, flags, mode)) }

/* The C library's own streams: numpy writes arrays through them, and nothing else here does. */
size_t fwrite(const void *data, size_t size, size_t count, FILE *stream) {
    char where[PATH_MAX];
    if (!armed || !path_of(fileno(stream), where)) return REAL(fwrite)(data, size, count, stream);
    note('w', where, NULL);
    int what = verdict('w', 1);
    if (what == FAIL || what == FULL) { errno = number; return 0; }
    size_t moved = REAL(fwrite)(data, size, what == TORN ? count / 2 : count, stream);
    if (what == TORN) { fflush(stream); die(); }
    FINISHED(what);
    return moved;
}
