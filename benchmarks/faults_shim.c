/* Preloaded into the processes of benchmarks/faults.py: a clock that jumps and a disk that is full, on command.

   The file named by SPARSEMOD_FAULTS holds two numbers: nanoseconds to add to the clock, and whether the disk of that
   file is full. All processes map the file, so a change takes effect everywhere at once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t clock_ns;
    int64_t full;
};

static volatile struct control *control;
static dev_t device;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("SPARSEMOD_FAULTS");
    struct stat status;
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    if (fstat(file, &status) == 0 && status.st_size >= (off_t)sizeof(struct control)) {
        void *mapped = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED) {
            device = status.st_dev;
            control = mapped;
        }
    }
    close(file);
}

static int full(int file)
{
    struct stat status;
    /* The logs on standard output and error go on: they show what happened. */
    return control && control->full && file > 2 && fstat(file, &status) == 0 && S_ISREG(status.st_mode)
        && status.st_dev == device;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) \
        next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t clock, struct timespec *time)
{
    NEXT(clock_gettime);
    int result = next(clock, time);
    if (result == 0 && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t all = (int64_t)time->tv_sec * 1000000000 + time->tv_nsec + control->clock_ns;
        time->tv_sec = all / 1000000000;
        time->tv_nsec = all % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place)
        *place = now.tv_sec;
    return now.tv_sec;
}

ssize_t write(int file, const void *data, size_t size)
{
    NEXT(write);
    if (full(file)) {
        errno = ENOSPC;
        return -1;
    }
    return next(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    NEXT(pwrite64);
    if (full(file)) {
        errno = ENOSPC;
        return -1;
    }
    return next(file, data, size, offset);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    return pwrite64(file, data, size, offset);
}

int fallocate(int file, int mode, off_t offset, off_t size)
{
    NEXT(fallocate);
    if (full(file)) {
        errno = ENOSPC;
        return -1;
    }
    return next(file, mode, offset, size);
}
