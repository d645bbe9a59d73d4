/* A small pool of POSIX threads.
 *
 * Why not OpenMP: its threads either spin after a region ends or take 20 us per barrier, libgomp
 * hangs in a forked child, and two OpenMP runtimes in one process get in each other's way.  Here
 * workers sleep on a condition variable between calls and spin only inside a running call.
 */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "native.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ __volatile__("yield")
#else
#define PAUSE() ((void)0)
#endif

enum { MAX_THREADS = 256, SPINS = 4000 };

static pthread_mutex_t owner = PTHREAD_MUTEX_INITIALIZER; /* who uses the pool */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  /* guards the fields below */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int workers = 0; /* threads that exist, numbered from 1 */
static pthread_t handles[MAX_THREADS]; /* of the workers, from 1 */
static int spread_from = -1;           /* the caller's processor, and the threads, last time */
static int spread_threads = 0;
static unsigned long job = 0;
static int job_threads = 0;
static fm_task job_task;
static void *job_argument;

/* Each on a cache line of its own: the one is written often, the other read in a loop. */
static _Alignas(128) atomic_int running = 0;
static _Alignas(128) atomic_int arrived = 0;
static _Alignas(128) atomic_uint generation = 0;

static void relax(int *spins)
{
    if (++*spins < SPINS) {
        PAUSE();
    } else {
        sched_yield(); /* more threads than processors: let the others work */
    }
}

void fm_barrier(int threads)
{
    if (threads == 1) {
        return;
    }
    unsigned mine = atomic_load_explicit(&generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&arrived, 1, memory_order_acq_rel) == threads - 1) {
        atomic_store_explicit(&arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&generation, mine + 1, memory_order_release);
        return;
    }
    int spins = 0;
    while (atomic_load_explicit(&generation, memory_order_acquire) == mine) {
        relax(&spins);
    }
}

static void *work(void *number)
{
    int thread = (int)(intptr_t)number;
    unsigned long done = 0;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (job == done || thread >= job_threads) {
            done = job;
            pthread_cond_wait(&wake, &lock);
        }
        done = job;
        fm_task task = job_task;
        void *argument = job_argument;
        int threads = job_threads;
        pthread_mutex_unlock(&lock);
        task(argument, thread, threads);
        atomic_fetch_sub_explicit(&running, 1, memory_order_release);
    }
    return NULL;
}

/* A forked child has only the thread that forked: it starts anew. */
static void after_fork(void)
{
    pthread_mutex_init(&owner, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
    workers = 0;
    spread_threads = 0;
    job = 0;
    job_threads = 0;
    atomic_store(&running, 0);
    atomic_store(&arrived, 0);
}

/* Keep the workers off the caller's processor, each on one of its own as far as they go round.
 *
 * The kernel likes to wake a thread where its waker runs and takes milliseconds to move it, while
 * the waker spins at a barrier for its sake: two threads then share one processor. */
static void spread(int threads)
{
#if defined(__linux__)
    const int here = sched_getcpu();
    if (here < 0 || (here == spread_from && threads <= spread_threads)) {
        return;
    }
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return;
    }
    if (CPU_COUNT(&allowed) < threads) { /* more threads than processors: the scheduler's task */
        for (int worker = 1; worker < threads; worker++) {
            pthread_setaffinity_np(handles[worker], sizeof allowed, &allowed);
        }
        spread_threads = 0;
        return;
    }
    int cpu = here;
    for (int worker = 1; worker < threads; worker++) {
        do {
            cpu = (cpu + 1) % CPU_SETSIZE;
        } while (!CPU_ISSET(cpu, &allowed) || cpu == here);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(handles[worker], sizeof one, &one);
    }
    spread_from = here;
    spread_threads = threads;
#else
    (void)threads;
#endif
}

static void start_workers(int wanted)
{
    static int registered = 0;
    if (!registered) {
        registered = 1;
        pthread_atfork(NULL, NULL, after_fork);
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (workers < wanted) {
        if (pthread_create(&handles[workers + 1], &attributes, work,
                           (void *)(intptr_t)(workers + 1)) != 0) {
            break;
        }
        workers++;
    }
    pthread_attr_destroy(&attributes);
}

int fm_run(int threads, fm_task task, void *argument)
{
    if (threads > MAX_THREADS) {
        threads = MAX_THREADS;
    }
    if (threads <= 1 || pthread_mutex_trylock(&owner) != 0) {
        task(argument, 0, 1);
        return 1;
    }
    pthread_mutex_lock(&lock);
    start_workers(threads - 1);
    if (threads > workers + 1) {
        threads = workers + 1;
    }
    spread(threads);
    job_task = task;
    job_argument = argument;
    job_threads = threads;
    job++;
    atomic_store_explicit(&running, threads - 1, memory_order_relaxed);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    task(argument, 0, threads);
    int spins = 0;
    while (atomic_load_explicit(&running, memory_order_acquire) != 0) {
        relax(&spins);
    }
    pthread_mutex_unlock(&owner);
    return threads;
}

/* -- the speed of the line between two cores -------------------------------------------------- */

enum { TRIPS = 2000 };
static _Alignas(128) atomic_int ball = 0;

static void play(void *seconds, int thread, int threads)
{
    if (threads != 2) {
        return;
    }
    fm_barrier(2);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < TRIPS; i++) {
        int mine = 2 * i + thread;
        while (atomic_load_explicit(&ball, memory_order_acquire) != mine) {
            PAUSE();
        }
        atomic_store_explicit(&ball, mine + 1, memory_order_release);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (thread == 0) {
        *(double *)seconds = (double)(to.tv_sec - from.tv_sec)
                             + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    }
}

double fm_round_trip(void)
{
    double seconds = 0.0;
    atomic_store(&ball, 0);
    fm_run(2, play, &seconds);
    return 1e9 * seconds / TRIPS;
}
