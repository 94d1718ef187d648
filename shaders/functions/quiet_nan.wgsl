// NaN, from bits that the compilers cannot see through: they refuse a constant expression that is none.
fn quiet_nan() -> F {
  return F(bitcast<f32>(0x7fc00000u | (u32(params.first) & 0u)));
}
