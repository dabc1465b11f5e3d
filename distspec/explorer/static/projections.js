// Equal-area maps of the sky, east to the left: azimuthal around a field, Hammer's for the whole sky.

const RADIAN = Math.PI / 180;
const FIELD_RADIUS = 40; // largest distance from the center in an azimuthal map [deg]

// The projection of positions [deg]: {forward(ra, dec), inverse(x, y), whole}; map coordinates are radians.
export function fitProjection(ra, dec) {
  const sum = [0, 0, 0];
  let n = 0;
  for (let i = 0; i < ra.length; i++) {
    if (!Number.isFinite(ra[i]) || !Number.isFinite(dec[i])) continue;
    const [a, d] = [ra[i] * RADIAN, dec[i] * RADIAN];
    sum[0] += Math.cos(d) * Math.cos(a);
    sum[1] += Math.cos(d) * Math.sin(a);
    sum[2] += Math.sin(d);
    n += 1;
  }
  const length = Math.hypot(...sum);
  if (!n || length < 1e-6 * n) return projection(0, 0, true);
  const center = [Math.atan2(sum[1], sum[0]), Math.asin(sum[2] / length)];
  const whole = farthest(ra, dec, center) > FIELD_RADIUS;
  return whole ? projection(center[0], 0, true) : projection(...center, false);
}

// The largest distance of the positions from a center [deg].
function farthest(ra, dec, [a0, d0]) {
  let smallest = 1;
  for (let i = 0; i < ra.length; i++) {
    const [a, d] = [ra[i] * RADIAN, dec[i] * RADIAN];
    const cosine = Math.sin(d0) * Math.sin(d) + Math.cos(d0) * Math.cos(d) * Math.cos(a - a0);
    if (cosine < smallest) smallest = cosine;
  }
  return Math.acos(Math.max(smallest, -1)) / RADIAN;
}

function projection(a0, d0, whole) {
  const [sin0, cos0] = [Math.sin(d0), Math.cos(d0)];
  const stretch = whole ? 2 : 1;
  return {
    whole,
    forward(ra, dec) {
      const angle = wrap(ra * RADIAN - a0) / stretch;
      const [sin, cos] = [Math.sin(dec * RADIAN), Math.cos(dec * RADIAN)];
      const scale = Math.sqrt(2 / Math.max(1 + sin0 * sin + cos0 * cos * Math.cos(angle), 1e-12));
      return [-stretch * scale * cos * Math.sin(angle), scale * (cos0 * sin - sin0 * cos * Math.cos(angle))];
    },
    inverse(x, y) {
      const u = -x / stretch;
      const radius = Math.hypot(u, y);
      if (radius >= (whole ? Math.SQRT2 : 2)) return null;
      if (!radius) return [a0 / RADIAN, d0 / RADIAN];
      const [sin, cos] = [Math.sin(2 * Math.asin(radius / 2)), Math.cos(2 * Math.asin(radius / 2))];
      const dec = Math.asin(cos * sin0 + (y * sin * cos0) / radius);
      const ra = a0 + stretch * Math.atan2(u * sin, radius * cos0 * cos - y * sin0 * sin);
      return [ra / RADIAN, dec / RADIAN];
    },
  };
}

const wrap = (angle) => angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
