/* The gradients of a layer's kernel and bias.  Included by template.h behind product.h.
 *
 * c (m, n) = a' b for inputs a (k, m) and errors b (k, n), and in the same pass the sums of b's
 * columns.  As in product.h, every element is one chain of multiply-adds in the order of k.  The
 * sums are two, of even and of odd rows, added up in the end.
 */

/* Columns of a beside which the sums are made: enough products to hide that a sum waits for the
 * one before, few enough that the rest fills whole tiles. */
enum { A(HEAD) = 4 };

INLINE void A(head_tile)(const int rows, const int vecs, long k, const R *a, long lda, const R *b,
                         long ldb, R *c, long ldc, R *sums)
{
    A(vec) sum[A(HEAD)][2], total[2][2];
    UNROLL
    for (int v = 0; v < vecs; v++) {
        total[0][v] = total[1][v] = VZERO;
        UNROLL
        for (int r = 0; r < rows; r++) { sum[r][v] = VZERO; }
    }
#define STEP(odd)                                                                                \
    {                                                                                            \
        UNROLL                                                                                   \
        for (int v = 0; v < vecs; v++) {                                                         \
            const A(vec) y = LOAD(b + v * A(LANES));                                             \
            total[odd][v] = total[odd][v] + y;                                                   \
            UNROLL                                                                               \
            for (int r = 0; r < rows; r++) { sum[r][v] = VFMA(VSET(a[r]), y, sum[r][v]); }       \
        }                                                                                        \
        a += lda;                                                                                \
        b += ldb;                                                                                \
    }
    for (long p = 1; p < k; p += 2) {
        STEP(0)
        STEP(1)
    }
    if (k % 2) { STEP(0) }
#undef STEP
    UNROLL
    for (int v = 0; v < vecs; v++) {
        SAVE(sums + v * A(LANES), total[0][v] + total[1][v]);
        UNROLL
        for (int r = 0; r < rows; r++) { SAVE(c + r * ldc + v * A(LANES), sum[r][v]); }
    }
}

/* The sums, and `rows` rows of c. */
static void A(head)(long rows, long n, long k, const R *a, long lda, const R *b, long ldb,
                    long padded, fm_panels c, long first, R *sums)
{
    for (long j = 0; j < n; j += 2 * A(LANES)) {
        long ldc;
        R *out = (R *)A(column)(c, j, padded, &ldc);
        out += first * ldc;
#define HEAD_OF(rows)                                                                            \
    case rows:                                                                                   \
        if (n - j > A(LANES)) {                                                                  \
            A(head_tile)(rows, 2, k, a + first, lda, b + j, ldb, out, ldc, sums + j);            \
        } else {                                                                                 \
            A(head_tile)(rows, 1, k, a + first, lda, b + j, ldb, out, ldc, sums + j);            \
        }                                                                                        \
        break;
        switch (rows) { HEAD_OF(0) HEAD_OF(1) HEAD_OF(2) HEAD_OF(3) HEAD_OF(4) }
#undef HEAD_OF
    }
}

/* The first m rows of c, whole vectors of them, for fewer columns than a vector has: vectors hold
 * columns of a instead, which leaves no lanes idle, and the result is transposed.  Written are n
 * columns and as many more, of zeros, as make it a multiple of four. */
static void A(turned_product)(long m, long n, long k, const R *a, long lda, const R *b, long ldb,
                              R *c, long ldc)
{
    enum { WIDE = 2 * A(LANES), TALL = (A(LANES) + 3) / 4 * 4 };
    R turned[TALL * WIDE] __attribute__((aligned(FM_LINE))) = {0};
    const A(product) q = {k, ldb, lda, WIDE, FM_STORE, 0};
    const long parts = (n + TILE_ROWS - 1) / TILE_ROWS;
    for (long i = 0; i < m; i += WIDE) {
        const int vecs = m - i < WIDE ? 1 : 2;
        for (long part = 0; part < parts; part++) {
            const long j = n * part / parts, rows = n * (part + 1) / parts - j;
            A(tiles)[rows - 1][1][vecs](&q, b + j, a + i, NULL, turned + j * WIDE, NULL);
        }
        A(turn)((n + 3) / 4 * 4, vecs * A(LANES), turned, WIDE, c + i * ldc, ldc);
    }
}

static void A(kernel_grad)(long m, long n, long k, const void *a_, long lda, const void *b_,
                           long ldb, fm_panels c, void *sums)
{
    const R *a = a_, *b = b_;
    const long line = FM_LINE / sizeof(R), padded = (n + line - 1) / line * line;
    const fm_panels errors = {(char *)b_, ldb, A(PANEL)};
    long done = 0, ldc;
    if (n < A(LANES)) {
        done = m - m % A(LANES);
        R *out = (R *)A(column)(c, 0, padded, &ldc);
        A(turned_product)(done, n, k, a, lda, b, ldb, out, ldc);
    }
    if (sums) {
        const long rows = m - done < A(HEAD) ? m - done : A(HEAD);
        A(head)(rows, n, k, a, lda, b, ldb, padded, c, done, sums);
        done += rows;
    }
    A(gemm_from)(done, 1, m, n, k, a, lda, errors, NULL, c, FM_STORE, c.at);
}
