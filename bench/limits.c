/* What this machine can do: products per second, and how far apart its cores are.
 *
 * Compiled by machine.py when a benchmark starts and called from Python threads, each bound to one
 * core.  Not part of the library.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

typedef float vector __attribute__((vector_size(64)));

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Multiply-adds in registers only: 12 independent chains hide the latency of any of them.
 * Returns operations per second; seed (12 floats, read and written) keeps the compiler from knowing
 * the values and from dropping the work. */
double multiply_add_rate(int64_t repeats, float *seed)
{
    vector sum[12];
    for (int k = 0; k < 12; k++)
        sum[k] = seed[k] + (vector){0};
    vector a = seed[0] + (vector){0}, b = seed[1] + (vector){0};
    double start = seconds();
    for (int64_t i = 0; i < repeats; i++)
        for (int k = 0; k < 12; k++)
            sum[k] = sum[k] * a + b;
    double elapsed = seconds() - start;
    for (int k = 0; k < 12; k++)
        seed[k] = sum[k][0];
    return (double)repeats * 12 * (sizeof(vector) / sizeof(float)) * 2 / elapsed;
}

/* One of two players hands a cache line to the other and waits until it comes back.
 * Returns seconds per round trip. */
double round_trip(_Atomic int64_t *line, int64_t trips, int player)
{
    double start = seconds();
    for (int64_t i = 0; i < trips; i++) {
        while (atomic_load_explicit(line, memory_order_acquire) != 2 * i + player)
            ;
        atomic_store_explicit(line, 2 * i + player + 1, memory_order_release);
    }
    return (seconds() - start) / (double)trips;
}
