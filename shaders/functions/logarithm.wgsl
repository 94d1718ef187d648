// log x: near 1, where WGSL's own has only its absolute error bounded, 2 artanh((x - 1) / (x + 1)) by the series of that.
// What it is of 0, infinity and NaN, WGSL leaves open.
fn logarithm(x: F) -> F {
  let near = clamp((x - 1.0) / (x + 1.0), F(-0.25), F(0.25));
  let y = select(log(x), 2.0 * artanh_near(near), abs(x - 1.0) < F(0.25));
  let bounded = select(select(y, x, is_inf(x)), -infinity(), x == F(0.0));
  return select(bounded, quiet_nan(), (x < F(0.0)) | is_nan(x));
}
