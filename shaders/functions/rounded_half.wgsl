// x rounded to the nearest float16, half to even, kept as float32. WGSL's quantizeToF16 may lose float16's subnormal
// numbers, and says nothing of what float16 cannot hold.
fn rounded_half(x: F) -> F {
  let bits = bitcast<U>(x);
  let magnitude = bits & U(0x7fffffffu);
  let even = (magnitude >> U(13u)) & U(1u);
  let normal = (magnitude + U(0xfffu) + even) & U(0xffffe000u);
  // below 2^-14 the steps are of 2^-24 each
  let subnormal = bitcast<U>(round(min(abs(x), F(1.0)) * 16777216.0) * 5.9604644775390625e-08);
  let finite = select(normal, subnormal, magnitude < U(0x38800000u));
  let bounded = select(finite, U(0x7f800000u), normal >= U(0x47800000u));
  return bitcast<F>(select(bounded, magnitude, magnitude > U(0x7f800000u)) | (bits & U(0x80000000u)));
}
