// x to the power of y by squaring, in 32 bits that wrap; to a negative power what is left of it as an integer.
fn integer_power(x: I, y: I) -> I {
  let exponent = U(abs(y));
  var result = I(1);
  var square = x;
  for (var bit = 0u; bit < 31u; bit += 1u) {
    result = select(result, result * square, ((exponent >> U(bit)) & U(1u)) == U(1u));
    square *= square;
  }
  let unit = (x == I(1)) | (x == I(-1));
  return select(result, I(0), (y < I(0)) & !unit);
}
