/* Delays the thread "worker.io" of a Ray worker by half a second after each thread that it starts, as a machine with more
 * work than CPUs can do; see tests/faults/test_ray_worker_exit.py. Loaded by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    int status = create(thread, attributes, start, argument);
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (strcmp(name, "worker.io") == 0)
        usleep(500000);
    return status;
}
