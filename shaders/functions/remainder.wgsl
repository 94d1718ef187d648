// The remainder of a / b with the sign of a, as C's fmod: long division, each step of which is exact. WGSL's % rounds the
// quotient, and is far off where that is large.
fn remainder(a: F, b: F) -> F {
  let defined = !(is_nan(a) | is_inf(a) | is_nan(b) | (b == F(0.0)));
  let divisor = select(F(1.0), abs(b), defined);
  var rest = select(F(0.0), abs(a), defined);
  var part = divisor;
  // 2^277 is the quotient of the largest and the smallest float
  for (var step = 0; step < 278; step += 1) {
    part = select(part, part * 2.0, part <= rest * 0.5);
  }
  for (var step = 0; step < 279; step += 1) {
    rest = select(rest, rest - part, (part >= divisor) & (rest >= part));
    part *= 0.5;
  }
  let signed = bitcast<F>(bitcast<U>(rest) | (bitcast<U>(a) & U(0x80000000u)));
  return select(quiet_nan(), signed, defined);
}
