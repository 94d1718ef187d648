// x, or 0 where it is negative; NaN is neither. By its bits, as an integer from the lowest up to that of -infinity: of a choice by
// x < 0 some compilers make a maximum, which drops NaN.
fn rectified(x: F) -> F {
  return select(x, F(0.0), bitcast<I>(x) <= I(-8388608));
}
