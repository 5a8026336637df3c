package engine

// PacketBytesMax bounds the memory of UDP on a loop, once it has a UDP socket: what waits to be sent, what was
// staged in a turn, what one call receives. The sockets themselves come on top.
const PacketBytesMax = packetQueuesMax + packetStageBytes + packetReceiveBytes
