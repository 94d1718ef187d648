// a / b as IEEE 754 rounds it. GPUs divide within 2.5 units in the last place, and a rounding behind it (a quantization)
// would make a whole step of that; the residue of the quotient, which fma gives exactly, corrects it.
fn divided(a: F, b: F) -> F {
  let q = a / b;
  let corrected = q + fma(-q, b, a) / b;
  // with infinities and zeros the residue is no number, and the quotient stands
  return select(corrected, q, is_inf(corrected) | is_nan(corrected));
}
