/* What the wheel of rankfmc 0.3.5 calls and glibc 2.31 and later no longer offer to new programs: without it, the import
   fails. LD_PRELOAD puts it before the peer's process; see recommend.py. */
#include <math.h>

double __exp_finite(double x) { return exp(x); }
double __log_finite(double x) { return log(x); }
double __pow_finite(double x, double y) { return pow(x, y); }
