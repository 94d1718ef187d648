// The error function to two last bits of float32: x + x p(x²) up to 1, beyond it 1 - exp(-q(|x|)), with polynomials whose
// largest error is the least (of erf/x - 1 and -log erfc, weighted so that it is erf's relative and absolute error). Two
// rational functions, as in engine/ops/erf.py, take twice the time.
fn erf(x: F) -> F {
  let z = min(x * x, F(1.0));
  var p = -0.000563142181 * z + 0.00491755269;
  p = (p * z - 0.0267113131) * z + 0.112801805;
  p = (p * z - 0.37612325) * z + 0.128379121;
  // erf rounds to 1 from 3.92 on
  let t = min(abs(x), F(4.0));
  var q = -0.000185574885 * t + 0.00293961633;
  q = (q * t - 0.0218053553) * t + 0.103037447;
  q = (q * t + 0.638225555) * t + 1.12704015;
  q = q * t + 0.000353703857;
  let far = bitcast<F>(bitcast<U>(1.0 - exp(-q)) | (bitcast<U>(x) & U(0x80000000u)));
  return select(select(far, x + x * p, z < F(1.0)), x, is_nan(x));
}
