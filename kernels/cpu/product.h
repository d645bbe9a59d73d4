/* The matrix product: one register tile and one driver.  Included by template.h, per precision.
 *
 * c (m, n) = bias + a b.  A tile holds TILE_ROWS x 2 vectors of sums in registers, starts them at
 * the bias, and walks once along k: one vector load of b serves all rows, one broadcast of an
 * element of a serves both vectors.  Each output element is one chain of multiply-adds in the
 * order of k, whichever tile it falls in, so neither the batch nor the threads change its bits.
 */
typedef R A(vec) __attribute__((vector_size(VECTOR), aligned(sizeof(R)), may_alias));
typedef __typeof__((A(vec)){0} <= (A(vec)){0}) A(mask);
enum { A(LANES) = VECTOR / sizeof(R) };

#define LOAD(p) (*(const A(vec) *)(p))
#define SAVE(p, v) (*(A(vec) *)(p) = (v))

typedef struct {
    long k, lda, ldb, ldc;
    int ending;
} A(product);

/* One tile; `rows`, `vecs` and `transposed` are constants wherever it is inlined. */
INLINE void A(tile)(const int rows, const int vecs, const int transposed, const A(product) *q,
                    const R *a, const R *b, const R *bias, R *c, const R *saved)
{
    A(vec) sum[TILE_ROWS][2];
    const long lda = q->lda, ldb = q->ldb, ldc = q->ldc;
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < vecs; v++) {
            sum[r][v] = bias ? LOAD(bias + v * A(LANES)) : VZERO;
        }
    }
    /* Four base pointers and the scaled index reach twelve rows without spilling addresses. */
    const R *base[4] = {a, a + 3 * lda, a + 6 * lda, a + 9 * lda};
    for (long p = 0; p < q->k; p++, b += ldb) {
        A(vec) b0 = LOAD(b), b1 = vecs == 2 ? LOAD(b + A(LANES)) : b0;
        UNROLL
        for (int r = 0; r < rows; r++) {
            A(vec) x = VSET(transposed ? a[p * lda + r] : base[r / 3][p + (r % 3) * lda]);
            sum[r][0] = VFMA(x, b0, sum[r][0]);
            if (vecs == 2) {
                sum[r][1] = VFMA(x, b1, sum[r][1]);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < vecs; v++) {
            A(vec) y = sum[r][v];
            if (q->ending == FM_RELU) {
                y = VRELU(y);
            } else if (q->ending == FM_RELU_GRAD) {
                y = y * VSTEP(LOAD(saved + r * ldc + v * A(LANES)));
            }
            SAVE(c + r * ldc + v * A(LANES), y);
        }
    }
}

/* One row of a times up to eight vectors of b: enough chains to keep the multipliers busy. */
INLINE void A(row)(const int vecs, const A(product) *q, const R *a, const R *b, const R *bias,
                   R *c, const R *saved)
{
    A(vec) sum[8];
    UNROLL
    for (int v = 0; v < vecs; v++) {
        sum[v] = bias ? LOAD(bias + v * A(LANES)) : VZERO;
    }
    for (long p = 0; p < q->k; p++, b += q->ldb) {
        A(vec) x = VSET(a[p]);
        UNROLL
        for (int v = 0; v < vecs; v++) {
            sum[v] = VFMA(x, LOAD(b + v * A(LANES)), sum[v]);
        }
    }
    UNROLL
    for (int v = 0; v < vecs; v++) {
        A(vec) y = sum[v];
        if (q->ending == FM_RELU) {
            y = VRELU(y);
        } else if (q->ending == FM_RELU_GRAD) {
            y = y * VSTEP(LOAD(saved + v * A(LANES)));
        }
        SAVE(c + v * A(LANES), y);
    }
}

typedef void (*A(tile_function))(const A(product) *, const R *, const R *, const R *, R *,
                                 const R *);
#define TILE(rows, vecs, transposed)                                                             \
    static void A(tile_##rows##_##vecs##_##transposed)(const A(product) *q, const R *a,          \
                                                       const R *b, const R *bias, R *c,          \
                                                       const R *saved)                           \
    {                                                                                            \
        A(tile)(rows, vecs, transposed, q, a, b, bias, c, saved);                                \
    }
#define TILES_OF(rows) TILE(rows, 1, 0) TILE(rows, 2, 0) TILE(rows, 1, 1) TILE(rows, 2, 1)
#define NAMES_OF(rows)                                                                           \
    {{A(tile_##rows##_1_0), A(tile_##rows##_2_0)}, {A(tile_##rows##_1_1), A(tile_##rows##_2_1)}}
TILES_OF(1) TILES_OF(2) TILES_OF(3) TILES_OF(4) TILES_OF(5) TILES_OF(6)
#if TILE_ROWS == 12
TILES_OF(7) TILES_OF(8) TILES_OF(9) TILES_OF(10) TILES_OF(11) TILES_OF(12)
#endif
/* [rows - 1][transposed][vectors - 1] */
static const A(tile_function) A(tiles)[TILE_ROWS][2][2] = {
    NAMES_OF(1), NAMES_OF(2), NAMES_OF(3), NAMES_OF(4), NAMES_OF(5), NAMES_OF(6),
#if TILE_ROWS == 12
    NAMES_OF(7), NAMES_OF(8), NAMES_OF(9), NAMES_OF(10), NAMES_OF(11), NAMES_OF(12),
#endif
};
#undef TILE
#undef TILES_OF
#undef NAMES_OF

static void A(one_row)(const A(product) *q, long vectors, const R *a, const R *b, const R *bias,
                       R *c, const R *saved)
{
#define ROW(n) case n: A(row)(n, q, a, b + at, bias ? bias + at : NULL, c + at, saved + at); break;
    for (long v = 0; v < vectors; v += 8) {
        long at = v * A(LANES);
        switch (vectors - v) {
            ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7)
            default: A(row)(8, q, a, b + at, bias ? bias + at : NULL, c + at, saved + at);
        }
    }
#undef ROW
}

/* Elements of a that stay in the second-level cache while the panels of b pass by. */
enum { A(SLAB) = 256 * 1024 / sizeof(R) };

static void A(gemm)(int transposed, long m, long n, long k, const void *a_, long lda,
                    const void *b_, long ldb, const void *bias_, void *c_, long ldc, int ending,
                    const void *saved_)
{
    const R *a = a_, *b = b_, *bias = bias_, *saved = saved_ ? saved_ : c_;
    R *c = c_;
    const long vectors = (n + A(LANES) - 1) / A(LANES);
    const A(product) q = {k, lda, ldb, ldc, ending};
    if (m == 1 && (!transposed || lda == 1)) {
        A(one_row)(&q, vectors, a, b, bias, c, saved);
        return;
    }
    const long least = 4 * TILE_ROWS, fitting = k > 0 ? A(SLAB) / k : m;
    const long slab = fitting < least ? least : fitting;
    for (long i0 = 0; i0 < m; i0 += slab) {
        const long rows = m - i0 < slab ? m - i0 : slab;
        const long tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
        const long small = rows / tiles, larger = rows % tiles;
        for (long v = 0; v < vectors; v += 2) {
            const int vecs = v + 1 < vectors ? 2 : 1;
            const long at = v * A(LANES);
            long i = i0;
            for (long t = 0; t < tiles; t++) {
                const long r = small + (t < larger);
                A(tiles)[r - 1][transposed][vecs - 1](
                    &q, transposed ? a + i : a + i * lda, b + at, bias ? bias + at : NULL,
                    c + i * ldc + at, saved + i * ldc + at);
                i += r;
            }
        }
    }
}
#undef LOAD
#undef SAVE
