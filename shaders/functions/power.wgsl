// x to the power of y. Whole powers up to 63 are products, exact where these are; others are 2^(y log2|x|) with the sign
// that IEEE 754 gives them, which WGSL's pow does not have for negative x.
fn power(x: F, y: F) -> F {
  let magnitude = abs(x);
  let exponent = abs(y);
  let whole = exponent == trunc(exponent);
  let bits = U(min(exponent, F(63.0)));
  var product = F(1.0);
  var square = magnitude;
  for (var bit = 0u; bit < 6u; bit += 1u) {
    product = select(product, product * square, ((bits >> U(bit)) & U(1u)) == U(1u));
    square *= square;
  }
  product = select(product, 1.0 / product, y < F(0.0));
  var result = select(exp2(y * log2(magnitude)), product, whole & (exponent <= F(63.0)));
  result = select(result, select(F(0.0), infinity(), y < F(0.0)), magnitude == F(0.0));
  result = select(result, F(1.0), (y == F(0.0)) | (magnitude == F(1.0)));
  result = select(result, quiet_nan(), (is_nan(x) & !(y == F(0.0))) | (is_nan(y) & !(x == F(1.0))));
  let odd = whole & (fract(exponent * 0.5) == F(0.5));
  // -0 counts, by its sign bit
  let signed = select(result, -result, odd & (bitcast<U>(x) >= U(0x80000000u)));
  return select(signed, quiet_nan(), (x < F(0.0)) & !whole & !is_inf(x));
}
