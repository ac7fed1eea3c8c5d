// CRC-32 (IEEE 802.3, as in zlib and PNG) of a text: the checksum that the server sends now and then
// over what this page must hold by then.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** The checksum of a text of ASCII characters. */
export function crc32(text) {
  let crc = 0xffffffff;
  for (let index = 0; index < text.length; index += 1) {
    crc = (crc >>> 8) ^ TABLE[(crc ^ text.charCodeAt(index)) & 0xff];
  }
  return (crc ^ 0xffffffff) >>> 0;
}
