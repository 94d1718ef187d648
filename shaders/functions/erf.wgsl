// The error function, by the rational functions of engine/ops/erf.py (Cody 1969).
fn erf(x: F) -> F {
  let magnitude = abs(x);
  let z = min(magnitude, F(0.46875)) * min(magnitude, F(0.46875));
  var above = 0.185777706184603153 * z + 3.16112374387056560;
  above = (above * z + 113.864154151050156) * z + 377.485237685302021;
  above = above * z + 3209.37758913846947;
  var below = z + 23.6012909523441209;
  below = (below * z + 244.024637944434173) * z + 1282.61652607737228;
  below = below * z + 2844.23683343917062;
  let near = magnitude * (above / below);
  // erf rounds to 1 from 3.92 on
  let t = clamp(magnitude, F(0.46875), F(4.0));
  above = 2.15311535474403846e-8 * t + 0.564188496988670089;
  above = (above * t + 8.88314979438837594) * t + 66.1191906371416295;
  above = (above * t + 298.635138197400131) * t + 881.952221241769090;
  above = (above * t + 1712.04761263407058) * t + 2051.07837782607147;
  above = above * t + 1230.33935479799725;
  below = t + 15.7449261107098347;
  below = (below * t + 117.693950891312499) * t + 537.181101862009858;
  below = (below * t + 1621.38957456669019) * t + 3290.79923573345963;
  below = (below * t + 4362.61909014324716) * t + 3439.36767414372164;
  below = below * t + 1230.33935480374942;
  let far = 1.0 - exp(-t * t) * (above / below);
  let y = select(select(far, near, magnitude < F(0.46875)), x, is_nan(x));
  return bitcast<F>(bitcast<U>(y) | (bitcast<U>(x) & U(0x80000000u)));
}
