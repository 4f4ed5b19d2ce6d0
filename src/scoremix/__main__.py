from scoremix.commands import main

main()
