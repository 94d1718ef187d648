// The root of a whole number rounded down, exact below 2^24 where sqrt itself may fall just short of a whole number.
fn whole_root(x: F) -> F {
  let root = round(sqrt(x));
  return root - select(F(0.0), F(1.0), root * root > x);
}
