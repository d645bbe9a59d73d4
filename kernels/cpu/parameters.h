/* What is done to parameters besides their update: included by template.h behind moving.h, which
 * says how parameters lie.
 */
#ifndef FM_PARAMETERS_ONCE
#define FM_PARAMETERS_ONCE
/* Shorter vectors are not scaled up to length 1 by the orthogonal penalty, as in Keras. */
#define ORTHOGONAL_EPSILON 1e-7

/* The factor that gives a vector with this sum of squares length 1; at most 1 / epsilon. */
static double fm_unit(double squares, double epsilon)
{
    const double inv = 1 / sqrt(squares);
    return inv > 1 / epsilon ? 1 / epsilon : inv;
}
#endif

/* l1 sum |w| + l2 sum w^2, in LANES interleaved parts. */
static double A(penalty)(long n, const void *w_, double l1, double l2)
{
    const R *w = w_;
    double part[LANES] = {0}, total = 0;
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int v = 0; v < LANES; v++) {
            const double one = w[i + v];
            part[v] += l1 * (one < 0 ? -one : one) + l2 * (one * one);
        }
    }
    for (int v = 0; i + v < n; v++) {
        const double one = w[i + v];
        part[v] += l1 * (one < 0 ? -one : one) + l2 * (one * one);
    }
    for (int v = 0; v < LANES; v++) {
        total += part[v];
    }
    return total;
}

/* g = l1 sign(w) + slope w, added to what is there or instead of it. */
static void A(penalty_grad)(long n, const void *w_, void *g_, double l1_, double slope_, int adds)
{
    const R *w = w_, l1 = (R)l1_, slope = (R)slope_;
    R *g = g_;
    INDEPENDENT for (long i = 0; i < n; i++)
    {
        const R one = w[i] > 0 ? l1 : w[i] < 0 ? -l1 : 0;
        g[i] = (adds ? g[i] : 0) + (one + slope * w[i]);
    }
}

/* The penalty of each row of activations, and scale times its derivative where d is not NULL. */
static void A(activity_penalty)(long rows, long c, const void *y_, long ldy, double linear_,
                                double l1_, double l2_, double scale_, void *values_, void *d_,
                                long ldd)
{
    const R linear = (R)linear_, l1 = (R)l1_, l2 = (R)l2_;
    const R constant = (R)(scale_ * linear_), first = (R)(scale_ * l1_);
    const R second = (R)(scale_ * 2 * l2_);
    R *values = values_;
    for (long i = 0; i < rows; i++) {
        const R *y = (const R *)y_ + i * ldy;
        ROW_SUM(values[i], c, linear * y[j] + l1 * (y[j] < 0 ? -y[j] : y[j]) + l2 * (y[j] * y[j]));
        if (d_) {
            R *d = (R *)d_ + i * ldd;
            INDEPENDENT for (long j = 0; j < c; j++)
            {
                const R one = y[j] > 0 ? first : y[j] < 0 ? -first : 0;
                d[j] = constant + one + second * y[j];
            }
        }
    }
}

/* factor times the mean |cosine| between the rows (or columns) of w, and its gradient in g where
 * that is not NULL.  `scratch` holds the unit vectors, their factors, and one vector more. */
static double A(orthogonal_penalty)(long rows, long columns, long pitch, long panel,
                                    const void *w, int by_rows, double factor, void *g, int adds,
                                    double *scratch)
{
    const long count = by_rows ? rows : columns, size = by_rows ? columns : rows;
    const double pairs = 0.5 * (double)count * (double)(count - 1);
    double *unit = scratch, *inv = unit + count * size, *s = inv + count, total = 0;
    for (long i = 0; i < count; i++) {
        double squares = 0;
        for (long k = 0; k < size; k++) {
            const double one = *A(element)(w, rows, pitch, panel, by_rows ? i : k, by_rows ? k : i);
            unit[i * size + k] = one;
            squares += one * one;
        }
        inv[i] = fm_unit(squares, ORTHOGONAL_EPSILON);
        for (long k = 0; k < size; k++) {
            unit[i * size + k] *= inv[i];
        }
    }
    for (long i = 0; i < count; i++) {
        const double *x = unit + i * size;
        double along = 0;
        memset(s, 0, size * sizeof(double));
        for (long other = 0; other < count; other++) {
            const double *z = unit + other * size;
            double cosine = 0;
            for (long k = 0; k < size; k++) {
                cosine += x[k] * z[k];
            }
            if (other == i || cosine == 0) {
                continue;
            }
            total += cosine < 0 ? -cosine : cosine;
            const double sign = cosine < 0 ? -1 : cosine > 0 ? 1 : cosine;
            for (long k = 0; k < size; k++) {
                s[k] += sign * z[k];
            }
        }
        for (long k = 0; k < size; k++) {
            along += x[k] * s[k];
        }
        along = inv[i] < 1 / ORTHOGONAL_EPSILON ? along : 0;
        for (long k = 0; k < (g ? size : 0); k++) {
            R *place = A(element)(g, rows, pitch, panel, by_rows ? i : k, by_rows ? k : i);
            const R slope = (R)(factor / pairs * inv[i] * (s[k] - x[k] * along));
            *place = (adds ? *place : 0) + slope;
        }
    }
    return factor * 0.5 * total / pairs;
}

static void A(non_negative)(long n, void *w_)
{
    R *w = w_;
    INDEPENDENT for (long i = 0; i < n; i++) { w[i] = w[i] < 0 ? 0 : w[i]; }
}

/* What a vector with this sum of squares is multiplied by. */
INLINE double A(rescaling)(double squares, const double *limits)
{
    const double norm = sqrt(squares), low = limits[0], high = limits[1], rate = limits[2];
    const double clipped = norm < low ? low : norm > high ? high : norm;
    return (rate * clipped + (1 - rate) * norm) / (limits[3] + norm);
}

/* Vectors from..to of w are scaled into the limits (low, high, rate, epsilon): columns (axis 0),
 * rows (axis 1), or the whole of w as one (axis 2). */
static void A(constrain_norm)(long rows, long columns, long pitch, long panel, void *w, int axis,
                              long from, long to, const double *limits)
{
    enum { WIDE = 16 };
    double squares = 0;
    for (long j0 = from; axis == 0 && j0 < to; j0 += WIDE) {
        /* no more than a panel's columns are side by side */
        const long first = j0 % panel, most = panel - first < WIDE ? panel - first : WIDE;
        const long width = to - j0 < most ? to - j0 : most;
        double sum[WIDE] = {0};
        for (long i = 0; i < rows; i++) {
            const R *x = A(element)(w, rows, pitch, panel, i, j0);
            for (long v = 0; v < width; v++) {
                sum[v] += (double)x[v] * x[v];
            }
        }
        for (long v = 0; v < width; v++) {
            sum[v] = A(rescaling)(sum[v], limits);
        }
        for (long i = 0; i < rows; i++) {
            R *x = A(element)(w, rows, pitch, panel, i, j0);
            for (long v = 0; v < width; v++) {
                x[v] = (R)(x[v] * sum[v]);
            }
        }
    }
    for (long i = from; axis != 0 && i < to; i++) {
        for (long j = 0; j < columns; j++) {
            const double x = *A(element)(w, rows, pitch, panel, i, j);
            squares += x * x;
        }
        if (axis == 1) {
            const double factor = A(rescaling)(squares, limits);
            for (long j = 0; j < columns; j++) {
                R *x = A(element)(w, rows, pitch, panel, i, j);
                *x = (R)(*x * factor);
            }
            squares = 0;
        }
    }
    if (axis == 2) {
        const double factor = A(rescaling)(squares, limits);
        for (long at = 0; at < rows * pitch; at++) {
            ((R *)w)[at] = (R)(((R *)w)[at] * factor);
        }
    }
}

/* w is divided by v w u after power iterations from u (columns), which is kept; a w of zeros stays.
 * `scratch` holds w, v and u in double precision. */
static void A(spectral_norm)(long rows, long columns, long pitch, long panel, void *w, void *u_,
                             int iterations, double epsilon, double *scratch)
{
    double *all = scratch, *v = all + rows * columns, *u = v + rows, sigma = 0, squares;
    R *kept = u_;
    int any = 0;
    for (long i = 0; i < rows; i++) {
        for (long j = 0; j < columns; j++) {
            all[i * columns + j] = *A(element)(w, rows, pitch, panel, i, j);
            any |= all[i * columns + j] != 0;
        }
    }
    if (!any) {
        return;
    }
    for (long j = 0; j < columns; j++) {
        u[j] = kept[j];
    }
    for (int round = 0; round <= iterations; round++) {
        squares = 0;
        for (long i = 0; i < rows; i++) {
            double sum = 0;
            for (long j = 0; j < columns; j++) {
                sum += all[i * columns + j] * u[j];
            }
            if (round == iterations) { /* v is that of the last round */
                sigma += v[i] * sum;
            } else {
                v[i] = sum;
                squares += sum * sum;
            }
        }
        if (round == iterations) {
            break;
        }
        const double inv = fm_unit(squares, epsilon);
        memset(u, 0, columns * sizeof(double));
        for (long i = 0; i < rows; i++) {
            v[i] *= inv;
            for (long j = 0; j < columns; j++) {
                u[j] += v[i] * all[i * columns + j];
            }
        }
        squares = 0;
        for (long j = 0; j < columns; j++) {
            squares += u[j] * u[j];
        }
        for (long j = 0; j < columns; j++) {
            u[j] *= fm_unit(squares, epsilon);
        }
    }
    for (long j = 0; j < columns; j++) {
        kept[j] = (R)u[j];
    }
    for (long i = 0; i < rows; i++) {
        for (long j = 0; j < columns; j++) {
            *A(element)(w, rows, pitch, panel, i, j) = (R)(all[i * columns + j] / sigma);
        }
    }
}
