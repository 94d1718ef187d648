// a / b rounded toward zero; 0 where b is 0, which ONNX leaves open, and the lowest integer for that over -1.
fn quotient(a: I, b: I) -> I {
  let open = (b == I(0)) | ((b == I(-1)) & (a == I(-2147483647 - 1)));
  return select(a / select(b, I(1), open), I(0), b == I(0));
}
