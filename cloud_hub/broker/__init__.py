"""A broker for trying things out, on loopback: Mosquitto when it is installed, else amqtt. Plants bring their own."""
